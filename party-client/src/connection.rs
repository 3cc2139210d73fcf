//! To the server: connection, session, and the model that it offers.

use anyhow::Result;
use sotto_models::service::{self, Error, RemoteModel};
use sotto_net::{Fingerprint, Identity, connect, connect_tls};
use sotto_protocol::Client;
use sotto_shares::Rng;

use crate::{
    args::Args,
    error::{BadOffer, Usage, farewell},
};

/// A session with a server.
pub struct Connection {
    /// This party.
    pub me: Client,
    /// The server's identity; none without TLS.
    pub server: Option<Fingerprint>,
}

impl Connection {
    /// Connects and sets up a session.
    ///
    /// # Errors
    /// The server is not there, is another, or does not follow the protocol.
    pub async fn open(args: &Args) -> Result<Connection> {
        let (mut ch, binding) = match (args.insecure_no_tls, args.fingerprint) {
            (true, _) => (connect(&args.server, args.link).await?, [0; 32]),
            (false, Some(server)) => {
                let me = match &args.identity {
                    Some(file) => Identity::load_or_create(file)?,
                    None => Identity::generate(),
                };
                let secured = connect_tls(&args.server, args.link, &me, server).await;
                let secured = secured.map_err(|e| match (&e, &args.identity) {
                    (sotto_net::Error::Rejected { .. }, None) => anyhow::Error::new(e)
                        .context("this run's identity is a new one, pass --identity FILE to keep it"),
                    _ => e.into(),
                })?;
                (secured.channel, secured.exporter)
            }
            (false, None) => {
                return Err(Usage("no server is pinned: pass --fingerprint sotto-...".into()).into());
            }
        };
        ch.set_timeout(args.patience());
        let mut me = Client::establish(ch, Rng::from_os(), binding).await.map_err(Error::from)?;
        me.session.set_precision(args.precision);
        let server = args.fingerprint.filter(|_| !args.insecure_no_tls);
        Ok(Connection { me, server })
    }

    /// Learns the server's model.
    ///
    /// # Errors
    /// The offer makes no sense, or the user's tokenizer is not the model's.
    pub async fn offer(&mut self, args: &Args) -> Result<RemoteModel> {
        let offer = service::receive_offer(&mut self.me.session.ch, args.tokenizer.as_deref()).await;
        let offer = offer.map_err(|e| match e {
            Error::Model(e) if args.tokenizer.is_none() => BadOffer(e).into(),
            e => anyhow::Error::new(e),
        })?;
        if !offer.audited {
            eprintln!(
                "party-client: warning: the server says that its model may leave ranges that are not watched; wrong answers may \
                 go unnoticed"
            );
        }
        Ok(offer)
    }

    /// Ends the session: all is said, or the server is told why not.
    ///
    /// # Errors
    /// `result`'s.
    pub async fn finish<T>(&mut self, result: Result<T>) -> Result<T> {
        let ch = &mut self.me.session.ch;
        match &result {
            // The server has nothing more to say, and needs nothing more.
            Ok(_) => _ = ch.part().await,
            Err(e) => {
                if let Some(code) = farewell(e) {
                    ch.abort(code).await;
                }
            }
        }
        result
    }
}
