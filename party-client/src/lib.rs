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
//! | `likelihood`, `stop_sequences` | of its tokens; where its text ends          |
//! | `stop`         | ending a request before its time                            |
//! | `task`         | what encoders are for: a request, texts, what comes of them |
//! | `check`        | logits of a text beside those of a reference in the clear   |
//! | `serve`        | an HTTP endpoint in the form of OpenAI's API                |
//! | `events`       | what a front end is told meanwhile                          |
//! | `report`       | who saw what, and what it cost                              |
//! | `error`        | what went wrong, through whom, and what the server is told  |
//! | `command_line` | the program: options, terminal, exit codes                  |

mod check;
pub mod command_line;
mod error;
mod events;
mod generate;
mod likelihood;
mod remote_model;
mod report;
pub mod serve;
mod session;
mod stop;
mod stop_sequences;
mod task;

pub use check::{CheckRequest, LoadedCheck};
pub use error::{Error, Fault};
pub use events::{Event, Events, Hint, Stage, Traffic, Warning};
pub use generate::{GenerationRequest, Prompt};
pub use likelihood::{Likelihood, TokenLikelihood};
pub use remote_model::RemoteModel;
pub use report::{Answer, Comparison, Disclosure, ModelSummary, Report};
pub use session::{Options, Security, Session};
pub use sotto_models::{Message, Penalties};
pub use stop::Stop;
pub use task::{Input, Outcome, TaskRequest};
