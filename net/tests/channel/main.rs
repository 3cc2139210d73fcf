//! The channel as its users and its peers meet it.
//!
//! | file         | subject                                                    |
//! |--------------|------------------------------------------------------------|
//! | `ahead`      | messages that are announced before they are read           |
//! | `background` | requests that travel behind everything else                |
//! | `cost`       | what the meter counts                                      |
//! | `hostile`    | peers that break the framing                               |
//! | `limits`     | peers that are slow, or do not read                        |
//! | `link`       | links that are imposed                                     |
//! | `tls`        | identities, and those who are not let in                   |

#![allow(clippy::unwrap_used, reason = "tests, and their helpers")]

mod ahead;
mod background;
mod cost;
mod hostile;
mod limits;
mod link;
mod tls;
