//! The writer's low-priority queue: background messages, sent in pieces, lowest request first.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    ops::Range,
};

use bytes::{Buf, Bytes};
use tokio::sync::mpsc;

use super::frame::{Frame, Header, PIECE_LEN};

/// A background message on its way to the writer.
pub(super) struct Submission {
    /// The number of its request.
    pub request: u64,
    pub tag: [u8; 4],
    pub flight: u32,
    /// None if the message was dropped: it will never be sent.
    pub body: Option<Bytes>,
}

/// Background messages that are not sent yet.
pub(super) struct LowPriorityQueue {
    submissions: mpsc::UnboundedReceiver<Submission>,
    /// What is left of each message, by request.
    ready: BTreeMap<u64, Ready>,
    /// All requests below this number are done: sent, or dropped.
    all_done: u64,
    /// Requests from `all_done` on that are done.
    done: BTreeSet<u64>,
}

struct Ready {
    tag: [u8; 4],
    flight: u32,
    rest: Bytes,
}

impl LowPriorityQueue {
    pub fn new(submissions: mpsc::UnboundedReceiver<Submission>) -> LowPriorityQueue {
        LowPriorityQueue { submissions, ready: BTreeMap::new(), all_done: 0, done: BTreeSet::new() }
    }

    /// Takes in all submissions; whether a piece of `requests` is ready afterwards.
    pub fn poll_ready(&mut self, requests: &Range<u64>) -> bool {
        while let Ok(next) = self.submissions.try_recv() {
            self.admit(next);
        }
        self.is_ready(requests)
    }

    /// Whether a piece of `requests` is ready, without a look at new submissions.
    pub fn is_ready(&self, requests: &Range<u64>) -> bool {
        self.ready.range(requests.clone()).next().is_some()
    }

    /// Whether all messages of `requests` are sent or dropped.
    pub fn is_done(&self, requests: &Range<u64>) -> bool {
        (requests.start.max(self.all_done)..requests.end).all(|request| self.done.contains(&request))
    }

    /// Waits for the next submission and takes it in. Cancel-safe. Never returns if no submission
    /// can come any more.
    pub async fn wait(&mut self) {
        match self.submissions.recv().await {
            Some(next) => self.admit(next),
            None => pending().await,
        }
    }

    /// The next piece of `requests`.
    ///
    /// # Panics
    /// If none is ready.
    pub fn take(&mut self, requests: &Range<u64>) -> Frame {
        let (&request, next) =
            self.ready.range_mut(requests.clone()).next().expect("a piece of the requests is ready");
        let piece = next.rest.split_to(PIECE_LEN.min(next.rest.len()));
        // The number wraps in the header; the receiver knows which requests are under way.
        let number = request as u32;
        let header = Header { tag: next.tag, number, flight: next.flight, is_piece: true, len: piece.len() };
        if !next.rest.has_remaining() {
            self.ready.remove(&request);
            self.mark_done(request);
        }
        [Bytes::copy_from_slice(&header.encode()), piece]
    }

    /// Accepts no more submissions: whoever holds one can tell that it is lost.
    pub fn close(&mut self) {
        self.submissions.close();
    }

    fn admit(&mut self, next: Submission) {
        let Submission { request, tag, flight, body } = next;
        match body {
            Some(rest) => _ = self.ready.insert(request, Ready { tag, flight, rest }),
            None => self.mark_done(request),
        }
    }

    fn mark_done(&mut self, request: u64) {
        self.done.insert(request);
        while self.done.remove(&self.all_done) {
            self.all_done += 1;
        }
    }
}
