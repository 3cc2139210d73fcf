//! The client: has a text, gets an answer, shows neither to the server.
//!
//! A front end makes a [`Session`], asks it for answers, and is told of progress and of the
//! answer's text through [`Events`]. Nothing here prints, but for `command_line`, the front end of
//! the program.
//!
//! | file           | subject                                                     |
//! |----------------|-------------------------------------------------------------|
//! | `session`      | connection to a server: TLS, queue, set-up, end             |
//! | `remote_model` | the server's model: all calls of `sotto_models`             |
//! | `generate`     | a generation: request, choice of tokens, text               |
//! | `task`         | what encoders are for: a request, texts, what comes of them |
//! | `check`        | logits of a text beside those of a reference in the clear   |
//! | `events`       | what a front end is told meanwhile                          |
//! | `report`       | who saw what, and what it cost                              |
//! | `error`        | what went wrong, through whom, and what the server is told  |
//! | `command_line` | the program: options, terminal, exit codes                  |

mod check;
pub mod command_line;
mod error;
mod events;
mod generate;
mod remote_model;
mod report;
mod session;
mod task;

pub use check::{CheckRequest, LoadedCheck};
pub use error::{Error, Fault};
pub use events::{Event, Events, Hint, Stage, Warning};
pub use generate::{Chat, GenerationRequest};
pub use remote_model::RemoteModel;
pub use report::{Answer, Comparison, Disclosure, ModelSummary, Report};
pub use session::{Options, Security, Session};
pub use task::{Input, Outcome, TaskRequest};
