//! A network's rate and delay, imposed on a connection from inside the program.
//!
//! Each direction is a queue in front of a wire: a piece of `n` bytes occupies the wire for `8 n /
//! rate` and arrives half a round trip after it has left the wire, never earlier. The queue is
//! bounded: a sender that is faster than the wire has to wait. Shape one party's connection, not
//! both: the delays would add up.

use std::{
    str::FromStr,
    thread,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::mpsc,
};

use crate::channel::Stream;

/// A link: the same rate and delay in both directions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// Bits per second; `None` is unlimited.
    pub rate: Option<f64>,
    /// Round-trip time.
    pub rtt: Duration,
}

impl Link {
    /// No shaping.
    pub const LOOPBACK: Link = Link { rate: None, rtt: Duration::ZERO };
    /// 1 Gbit/s, 0.5 ms.
    pub const LAN: Link = Link { rate: Some(1e9), rtt: Duration::from_micros(500) };
    /// 100 Mbit/s, 40 ms.
    pub const WAN: Link = Link { rate: Some(1e8), rtt: Duration::from_millis(40) };
}

/// The text is not the name of a link.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no link: use loopback, lan, wan or RATE,RTT such as 100mbit,40ms")]
pub struct ParseLinkError(String);

impl FromStr for Link {
    type Err = ParseLinkError;

    fn from_str(text: &str) -> Result<Link, ParseLinkError> {
        let number = |s: &str, units: &[(&str, f64)]| {
            let (number, scale) =
                units.iter().find_map(|(unit, scale)| s.strip_suffix(unit).map(|n| (n, *scale)))?;
            let value = number.trim().parse::<f64>().ok()? * scale;
            (value.is_finite() && value > 0.0).then_some(value)
        };
        let parse = || {
            let (rate, rtt) = text.split_once(',')?;
            let rate = number(rate.trim(), &[("gbit", 1e9), ("mbit", 1e6), ("kbit", 1e3)])?;
            let rtt = number(rtt.trim(), &[("ms", 1e-3), ("us", 1e-6), ("s", 1.0)])?;
            (rtt < 60.0).then(|| Link { rate: Some(rate), rtt: Duration::from_secs_f64(rtt) })
        };
        match text {
            "loopback" => Ok(Link::LOOPBACK),
            "lan" => Ok(Link::LAN),
            "wan" => Ok(Link::WAN),
            _ => parse().ok_or_else(|| ParseLinkError(text.into())),
        }
    }
}

/// `stream` as if it ran over `link`. Must be called inside a [`crate::Runtime`].
///
/// # Panics
/// If the system refuses threads.
pub fn shape(stream: impl Stream, link: Link) -> Box<dyn Stream> {
    if link == Link::LOOPBACK {
        return Box::new(stream);
    }
    let (inner, outer) = tokio::io::duplex(PIECE);
    let (from_party, to_party) = tokio::io::split(outer);
    let (socket_reader, socket_writer) = tokio::io::split(stream);
    direction(from_party, socket_writer, link);
    direction(socket_reader, to_party, link);
    Box::new(inner)
}

/// Bytes handled at a time: small enough to keep the pacing fine, large enough to keep it cheap.
const PIECE: usize = 16 << 10;
/// Pieces in flight at most; the reader stops beyond that.
const IN_FLIGHT: usize = 4096;

/// Starts one direction of the wire: a task at each end, and a thread between them. The timers of
/// the async runtime are too coarse for the delays of a local network.
fn direction<R, W>(mut from: R, mut to: W, link: Link)
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let (enter, mut wire) = mpsc::channel::<(Instant, Bytes)>(IN_FLIGHT);
    let (arrive, mut leave) = mpsc::channel::<Bytes>(1);
    tokio::spawn(async move {
        let mut wire_free = Instant::now();
        loop {
            let mut piece = BytesMut::with_capacity(PIECE);
            // The end of the stream is delayed as well: it is a piece of no bytes.
            let read = from.read_buf(&mut piece).await.unwrap_or(0);
            let on_wire = link.rate.map_or(0.0, |rate| 8.0 * read as f64 / rate);
            wire_free = wire_free.max(Instant::now()) + Duration::from_secs_f64(on_wire);
            if enter.send((wire_free + link.rtt / 2, piece.freeze())).await.is_err() || read == 0 {
                break;
            }
        }
    });
    let carry = move || {
        while let Some((arrival, piece)) = wire.blocking_recv() {
            thread::sleep(arrival.saturating_duration_since(Instant::now()));
            if arrive.blocking_send(piece).is_err() {
                break;
            }
        }
    };
    thread::Builder::new().name("link".into()).spawn(carry).expect("the system grants threads");
    tokio::spawn(async move {
        while let Some(piece) = leave.recv().await {
            if to.write_all(&piece).await.is_err() || to.flush().await.is_err() {
                break;
            }
        }
        let _ = to.shutdown().await;
    });
}
