//! The server: has a model, answers prompts that it never sees.
//!
//! A front end calls [`serve`], and is told what happens through [`Events`]. Nothing here prints,
//! but for `command_line`, the front end of the program.
//!
//! | file             | subject                                                        |
//! |------------------|----------------------------------------------------------------|
//! | `listener`       | listening, one thread for each connection, stopping            |
//! | `transport`      | TLS, or none on this machine                                   |
//! | `allow_list`     | which clients are served                                       |
//! | `queue`          | who is connected, who waits, whose turn it is                  |
//! | `quota`          | tokens a day for each client                                   |
//! | `client_session` | one client, from its connection to its end                     |
//! | `alarm`          | what ends a connection before its time                         |
//! | `model`          | the model that is served: all calls of `sotto_models`          |
//! | `trial`          | both parties in this process: what requests cost               |
//! | `events`         | what a front end is told                                       |
//! | `metrics`        | counts of that                                                 |
//! | `metrics_endpoint` | the address where they are read                              |
//! | `error`          | what went wrong, through whom, and what the client is told     |
//! | `command_line`   | the program: options, signals, log, exit codes                 |

mod alarm;
mod allow_list;
mod client_session;
pub mod command_line;
mod error;
mod events;
mod listener;
mod metrics;
mod metrics_endpoint;
mod model;
mod queue;
mod quota;
mod transport;
mod trial;

pub use alarm::{Alarm, Ending};
pub use allow_list::AllowList;
pub use client_session::Deadlines;
pub use error::{Error, Fault};
pub use events::{Event, Events, Served};
pub use listener::{Options, serve};
pub use model::{Lengths, Model, Reveal, Rules};
pub use queue::Limits;
pub use transport::Transport;
