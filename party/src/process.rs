//! What both programs do to their own process: core dumps, panics, signals, the end of a parent.

use std::panic;

use crate::output::note;

/// Keeps the memory of this process out of core dumps, and other processes of the user out of it,
/// where the system knows how. Failing that, the program still runs.
pub fn no_core_dumps() {
    #[cfg(unix)]
    let _ = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0);
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_dumpable(false);
}

/// Lets a panic say where it is, and nothing of the values there.
pub fn quiet_panics() {
    panic::set_hook(Box::new(|info| match info.location() {
        Some(at) => {
            note(&format!("internal error at {at}: a mistake in this program, please report the place"))
        }
        None => note("internal error: a mistake in this program"),
    }));
}

/// What a user or a supervisor asks of a running program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// To end: SIGINT or SIGTERM. The number is what a shell adds to 128.
    End(u8),
    /// To read its lists again: SIGHUP.
    Reload,
}

/// Hands signals to `act`, on a thread of its own, instead of what the system does with them. Call
/// it before any other thread starts: a thread takes over what its maker blocks.
///
/// The signals are blocked and waited for. A process that is the first of its container gets them
/// too: the system drops signals there only if they would have their default effect.
#[cfg(unix)]
pub fn on_signals(mut act: impl FnMut(Signal) + Send + 'static) {
    use nix::sys::signal::Signal as Number;
    let waited_for = waited_for();
    if waited_for.thread_block().is_err() {
        return;
    }
    let wait = move || {
        while let Ok(signal) = waited_for.wait() {
            act(match signal {
                Number::SIGHUP => Signal::Reload,
                other => Signal::End(other as u8),
            });
        }
    };
    let _ = std::thread::Builder::new().name("signals".into()).spawn(wait);
}

#[cfg(unix)]
fn waited_for() -> nix::sys::signal::SigSet {
    use nix::sys::signal::Signal::{SIGHUP, SIGINT, SIGTERM};
    [SIGINT, SIGTERM, SIGHUP].into_iter().collect()
}

/// Leaves signals to the system.
#[cfg(not(unix))]
pub fn on_signals(_: impl FnMut(Signal) + Send + 'static) {}

/// For a process that another one of ours has started: it is told to end (SIGTERM) when the thread
/// that started it ends, where the system knows how, and gets the signals that its parent waits
/// for.
pub fn end_with_parent() {
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGTERM);
    #[cfg(unix)]
    let _ = waited_for().thread_unblock();
}
