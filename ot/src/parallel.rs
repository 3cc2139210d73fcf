//! Local work on all cores.

use rayon::prelude::*;

/// Calls `work` for every part; in parallel if there are several of them, and several threads.
pub(crate) fn for_each<P: Send>(parts: impl IntoIterator<Item = P>, work: impl Fn(P) + Send + Sync) {
    let parts: Vec<P> = parts.into_iter().collect();
    if parts.len() < 2 || rayon::current_num_threads() == 1 {
        parts.into_iter().for_each(work);
    } else {
        parts.into_par_iter().for_each(work);
    }
}
