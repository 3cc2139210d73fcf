//! The two programs as a user meets them: two processes, their output, their exit codes.
//!
//! Both are the demo's executable with `server` or `client` in front: the same functions as those
//! of `party-server` and `party-client`.
//!
//! | file            | subject                                                     |
//! |-----------------|-------------------------------------------------------------|
//! | `embeddings`    | vectors from that endpoint                                  |
//! | `endpoint`      | the client's HTTP endpoint                                  |
//! | `harness`       | the processes                                               |
//! | `answers`       | what a user gets who does everything right                  |
//! | `conversations` | conversations that go on in their session                   |
//! | `encoders`      | tasks on texts, right and wrong                             |
//! | `mistakes`      | what a user is told who does something wrong                |
//! | `streams`       | output that is full, gone, or a terminal                    |
//! | `limits`        | clients that say nothing, come in crowds, or wait           |
//! | `signals`       | stopping a server, and reading its list of clients again    |

#![allow(clippy::unwrap_used, reason = "tests, and their helpers")]

mod answers;
mod conversations;
mod embeddings;
mod encoders;
mod endpoint;
#[path = "../../../models/tests/common/golden.rs"]
mod golden;
mod harness;
mod limits;
mod metrics;
mod mistakes;
mod signals;
mod streams;
