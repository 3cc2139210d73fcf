//! What the two programs have in common: how a process starts and ends, how it writes, and how a
//! client is admitted to a server.
//!
//! | file           | subject                                                       |
//! |----------------|---------------------------------------------------------------|
//! | `admission`    | frames before a session: the client joins, waits, is admitted |
//! | `alarm`        | ending something before its time, from another thread         |
//! | `address`      | loopback addresses, the only ones served without TLS          |
//! | `command_line` | reading a command line; its mistakes as a line or as JSON     |
//! | `log`          | a log on standard error: levels, and how much events matter   |
//! | `key_file`     | the file of a private key: who may own it, how it is made     |
//! | `memory`       | amounts of memory, and what there is                          |
//! | `output`       | writing to streams that may be gone or full                   |
//! | `process`      | core dumps, panics, signals, the end of a parent              |

pub mod address;
pub mod admission;
pub mod alarm;
pub mod command_line;
pub mod key_file;
pub mod log;
pub mod memory;
pub mod output;
pub mod process;
