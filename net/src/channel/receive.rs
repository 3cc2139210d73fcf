//! Receiving: frames in the order in which the peer sent them, checked against what this side
//! expects.
//!
//! A frame can be announced before it is read ([`Channel::expect`]): it is then read on the way to
//! a later one, and kept until it is claimed.

use std::{
    collections::{HashMap, VecDeque},
    sync::atomic::Ordering,
};

use serde::de::DeserializeOwned;

use super::{
    Channel,
    abort::{ABORT_TAG, Abort},
    frame::{HEADER_LEN, Header, tag_bytes},
    limits::Wait,
};
use crate::{Error, MAX_CONTROL_LEN, SpanKey, codec};

/// How far the buffer of a message whose length the peer chose runs ahead of its bytes.
const GROWTH: usize = 1 << 20;

/// A message that was announced and can be claimed, once.
#[must_use]
pub struct Expected {
    number: u64,
    step: &'static str,
}

/// What the peer sends before the next message that this party waits for.
#[derive(Default)]
pub(super) struct Expectations {
    announced: u64,
    waiting: VecDeque<Expectation>,
    /// Announced frames that have arrived, by number.
    arrived: HashMap<u64, Vec<u8>>,
}

enum Expectation {
    Frame(ExpectedFrame),
    /// The announcement of a background request, as the peer's digest covers it.
    Announcement(Vec<u8>),
}

struct ExpectedFrame {
    number: u64,
    step: &'static str,
    len: usize,
    /// Where its bytes are counted.
    span: SpanKey,
}

impl Expectations {
    /// Whether a frame up to `number` has not been read.
    fn waits_for(&self, number: u64) -> bool {
        self.waiting.iter().any(|next| matches!(next, Expectation::Frame(frame) if frame.number <= number))
    }
}

impl Channel {
    /// Receives the message of step `tag`, exactly `len` bytes.
    ///
    /// # Errors
    /// The peer's frame has another tag, number or length; the peer is silent, slow or gone, does
    /// not read, or aborted; a deadline has passed.
    pub async fn recv(&mut self, tag: &'static str, len: usize) -> Result<Vec<u8>, Error> {
        let got = self.recv_header(tag).await?;
        if got != len {
            return Err(Error::WrongLength { step: tag, expected: len, got });
        }
        let body = self.recv_body(tag, len).await?;
        self.keep_budget(tag).await?;
        Ok(body)
    }

    /// Announces that the peer sends the message of step `tag`, exactly `len` bytes, at this point
    /// of the conversation. Does not wait: the message is read on the way to a later one, so that a
    /// message that the peer sends early costs no turn. Its bytes count for the span that is open
    /// now.
    pub fn expect(&mut self, tag: &'static str, len: usize) -> Expected {
        let number = self.expectations.announced;
        self.expectations.announced += 1;
        let frame = ExpectedFrame { number, step: tag, len, span: self.meter.span() };
        self.expectations.waiting.push_back(Expectation::Frame(frame));
        Expected { number, step: tag }
    }

    /// The message that was announced by [`Channel::expect`].
    ///
    /// # Errors
    /// As [`Channel::recv`]; [`Error::Closed`] if it was announced on another channel, or reading
    /// it has failed before.
    pub async fn claim(&mut self, expected: Expected) -> Result<Vec<u8>, Error> {
        if self.expectations.waits_for(expected.number) {
            while self.expectations.waits_for(expected.number) {
                self.take_expected().await?;
            }
            self.keep_budget(expected.step).await?;
        }
        let message = self.expectations.arrived.remove(&expected.number);
        message.ok_or(Error::Closed { step: expected.step })
    }

    /// Both parties send, then both receive a message of the same length: one turn.
    ///
    /// # Errors
    /// As [`Channel::recv`].
    pub async fn exchange(&mut self, tag: &'static str, payload: Vec<u8>) -> Result<Vec<u8>, Error> {
        let len = payload.len();
        self.send(tag, payload)?;
        self.recv(tag, len).await
    }

    /// Receives a control message of at most [`MAX_CONTROL_LEN`] bytes.
    ///
    /// # Errors
    /// As [`Channel::recv`], [`Error::TooLong`] and [`Error::Malformed`].
    pub async fn recv_control<T: DeserializeOwned>(&mut self, tag: &'static str) -> Result<T, Error> {
        let body = self.recv_at_most(tag, MAX_CONTROL_LEN).await?;
        codec::decode(tag, &body)
    }

    /// Receives an opaque file-like message of at most `max` bytes. The peer chooses its length.
    ///
    /// # Errors
    /// As [`Channel::recv`], and [`Error::TooLong`].
    pub async fn recv_at_most(&mut self, tag: &'static str, max: usize) -> Result<Vec<u8>, Error> {
        let got = self.recv_header(tag).await?;
        if got > max {
            return Err(Error::TooLong { step: tag, max, got });
        }
        let (mut body, mut wait) = (Vec::new(), self.wait());
        wait.allow(got);
        while body.len() < got {
            let start = body.len();
            body.resize(start + GROWTH.min(got - start), 0);
            self.fill(&mut body[start..], tag, &mut wait).await?;
        }
        self.keep_budget(tag).await?;
        Ok(body)
    }

    /// A digest of the peer's frame headers up to this point of the conversation: its
    /// [`Channel::trace_digest`], if nothing was lost or changed.
    ///
    /// # Errors
    /// As [`Channel::recv`], of messages that were announced and not yet claimed.
    pub async fn heard_digest(&mut self) -> Result<[u8; 32], Error> {
        self.take_all_expected().await?;
        Ok(*self.received_transcript.finalize().as_bytes())
    }

    /// Announces a background request that the peer's digest covers at this point.
    pub(super) fn expect_announcement(&mut self, announcement: Vec<u8>) {
        self.expectations.waiting.push_back(Expectation::Announcement(announcement));
    }

    /// Reads all messages that were announced.
    pub(super) async fn take_all_expected(&mut self) -> Result<(), Error> {
        while !self.expectations.waiting.is_empty() {
            self.take_expected().await?;
        }
        Ok(())
    }

    /// Reads the first message that was announced.
    async fn take_expected(&mut self) -> Result<(), Error> {
        match self.expectations.waiting.pop_front() {
            None => {}
            Some(Expectation::Announcement(bytes)) => _ = self.received_transcript.update(&bytes),
            Some(Expectation::Frame(frame)) => {
                let got = self.next_header(frame.step).await?;
                self.keep_expected(frame, got).await?;
            }
        }
        Ok(())
    }

    /// Reads the next message that was announced, whose header has arrived while this side waits
    /// for `step`.
    pub(super) async fn take_expected_frame(
        &mut self,
        step: &'static str,
        header: Header,
    ) -> Result<(), Error> {
        loop {
            match self.expectations.waiting.pop_front() {
                None => return Err(self.unexpected(step, &header).await),
                Some(Expectation::Announcement(bytes)) => _ = self.received_transcript.update(&bytes),
                Some(Expectation::Frame(frame)) => {
                    let got = self.check(frame.step, &header).await?;
                    return self.keep_expected(frame, got).await;
                }
            }
        }
    }

    /// Reads the content of an announced message, whose header states `got` bytes.
    async fn keep_expected(&mut self, frame: ExpectedFrame, got: usize) -> Result<(), Error> {
        let ExpectedFrame { number, step, len, span } = frame;
        if got != len {
            return Err(Error::WrongLength { step, expected: len, got });
        }
        let body = self.recv_body(step, len).await?;
        self.meter.attribute(span, (HEADER_LEN + len) as u64);
        self.expectations.arrived.insert(number, body);
        Ok(())
    }

    /// The header of the next message after all that were announced; the length that it states.
    async fn recv_header(&mut self, tag: &'static str) -> Result<usize, Error> {
        // The error names this step if its frame arrives too early.
        self.tag(tag);
        self.take_all_expected().await?;
        self.next_header(tag).await
    }

    /// The header of the next frame, which must be one of step `tag`; pieces before it are taken.
    /// Returns the length that it states.
    async fn next_header(&mut self, tag: &'static str) -> Result<usize, Error> {
        let mut wait = self.wait();
        loop {
            let header = self.read_header(tag, &mut wait).await?;
            if !header.is_piece {
                return self.check(tag, &header).await;
            }
            self.take_piece(tag, header, &mut wait).await?;
        }
    }

    /// The next header, of any kind.
    pub(super) async fn read_header(&mut self, step: &'static str, wait: &mut Wait) -> Result<Header, Error> {
        match self.early_header.take() {
            Some(header) => Ok(header),
            None => self.reader.header(step, wait).await,
        }
    }

    /// Checks a header against what step `tag` prescribes; the length that it states.
    async fn check(&mut self, tag: &'static str, header: &Header) -> Result<usize, Error> {
        if header.tag != self.tag(tag) {
            return Err(self.unexpected(tag, header).await);
        }
        if header.number != self.next_in {
            return Err(Error::WrongSequence { step: tag, expected: self.next_in, got: header.number });
        }
        let (least, most) = (self.newest_received.max(1), self.newest_sent + 1);
        if !(least..=most).contains(&header.flight) {
            return Err(Error::WrongFlight { step: tag, least, most, got: header.flight });
        }
        self.meter.received(tag, HEADER_LEN);
        self.received_transcript.update(&header.encode());
        self.next_in = self.next_in.wrapping_add(1);
        self.newest_received = header.flight;
        self.meter.reached(u64::from(header.flight));
        Ok(header.len)
    }

    /// What is wrong with a frame that is not of step `tag`; the peer's reason if it is an abort.
    async fn unexpected(&mut self, tag: &'static str, header: &Header) -> Error {
        if header.tag == tag_bytes(ABORT_TAG) && header.len == 1 {
            return match self.recv_body(tag, 1).await {
                Ok(code) => Error::Aborted { step: tag, reason: Abort::name(code[0]) },
                Err(error) => error,
            };
        }
        Error::WrongTag { expected: tag, got: self.tag_name(header.tag) }
    }

    /// Reads a piece whose header has arrived while this side waits for `step`. The wait gets the
    /// time that the piece takes at the least rate, and no timeout for each piece.
    pub(super) async fn take_piece(
        &mut self,
        step: &'static str,
        header: Header,
        wait: &mut Wait,
    ) -> Result<(), Error> {
        let number = self.requests.number_of(header.number);
        let Some(mut next) = self.requests.arriving.remove(&number) else {
            let got =
                format!("{}, for a background request that is not under way", self.tag_name(header.tag));
            return Err(Error::WrongTag { expected: step, got });
        };
        let (step, len) = (next.tag, next.next_piece_len());
        if header.tag != self.tag(step) {
            return Err(Error::WrongTag { expected: step, got: self.tag_name(header.tag) });
        }
        if header.len != len {
            return Err(Error::WrongLength { step, expected: len, got: header.len });
        }
        let (least, most) = next.flight.possible(next.buffer.is_empty(), self.newest_sent);
        if !(least..=most).contains(&header.flight) {
            return Err(Error::WrongFlight { step, least, most, got: header.flight });
        }
        next.flight.request.store(header.flight - next.flight.flights_later, Ordering::Relaxed);
        let start = next.buffer.len();
        if start == 0 {
            next.buffer.reserve_exact(next.len);
        }
        next.buffer.resize(start + len, 0);
        self.meter.received(step, HEADER_LEN);
        wait.allow(HEADER_LEN + len);
        self.fill(&mut next.buffer[start..], step, wait).await?;
        self.meter.attribute(next.span, (HEADER_LEN + len) as u64);
        match next.buffer.len() == next.len {
            true => next.deliver(),
            false => _ = self.requests.arriving.insert(number, next),
        }
        Ok(())
    }

    async fn recv_body(&mut self, tag: &'static str, len: usize) -> Result<Vec<u8>, Error> {
        let (mut body, mut wait) = (vec![0; len], self.wait());
        wait.allow(len);
        self.fill(&mut body, tag, &mut wait).await?;
        Ok(body)
    }

    async fn fill(&mut self, buffer: &mut [u8], tag: &'static str, wait: &mut Wait) -> Result<(), Error> {
        self.reader.fill(buffer, tag, wait).await?;
        self.meter.received(tag, buffer.len());
        Ok(())
    }

    /// The name of a tag if this side knows it, its bytes otherwise.
    fn tag_name(&self, tag: [u8; 4]) -> String {
        match (self.known_tags.get(&tag), tag) {
            (Some(name), _) => name.to_string(),
            (None, [0x16, 0x03, ..]) => {
                format!("{tag:02x?} (a TLS greeting: it uses TLS, this side does not)")
            }
            _ => format!("{tag:02x?}"),
        }
    }
}
