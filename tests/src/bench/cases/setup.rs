//! Set-up: of a session, or of its oblivious transfers alone; each run on a connection of its own.

use anyhow::Result;
use sotto_net::Half;
use sotto_ot::{OtSession, SemiHonest};
use sotto_shares::{Party, Rng};

use super::{Case, Run, ot};
use crate::stage::{Me, Stage};

/// What is set up.
pub enum Setup {
    /// Hello, oblivious transfers, keys.
    Session,
    /// Oblivious transfers.
    Ot,
}

impl Setup {
    /// By its name.
    pub fn parse(name: &str) -> Option<Setup> {
        match name {
            "session" => Some(Setup::Session),
            "ot" => Some(Setup::Ot),
            _ => None,
        }
    }
}

impl Case for Setup {
    fn about(&self) -> &'static str {
        "all of it offline, over a connection that is there"
    }

    fn elements(&self) -> usize {
        1
    }

    fn tolerance(&self) -> f64 {
        0.0
    }

    fn needs_session(&self) -> bool {
        false
    }

    fn run<'a>(&'a mut self, stage: &'a mut Stage, _: Option<&'a mut Me>) -> Run<'a> {
        Box::pin(async move {
            let mut ch = stage.connect().await?;
            stage.watch.start(&mut ch, Half::Offline).await?;
            let first = stage.party == Party::Client;
            match self {
                Setup::Session => {
                    let mut me = stage.establish(ch).await?;
                    stage.watch.stop(me.ch());
                    me.session().checkpoint().await?;
                    me.ch().close().await?;
                    Ok(vec![])
                }
                Setup::Ot => {
                    let mut session =
                        OtSession::<SemiHonest>::setup(&mut ch, [7; 32], first, Rng::from_os()).await?;
                    stage.watch.stop(&mut ch);
                    let (send, recv) = if first { (0, ot::CHECKED) } else { (ot::CHECKED, 0) };
                    let (send, recv) = session.reserve(&mut ch, send, recv).await?;
                    let outputs = ot::check(&mut ch, send, recv).await?;
                    ch.close().await?;
                    Ok(outputs)
                }
            }
        })
    }

    fn expected(&self) -> Result<Vec<f64>> {
        Ok(match self {
            Setup::Session => vec![],
            Setup::Ot => vec![0.0; ot::CHECKED],
        })
    }
}
