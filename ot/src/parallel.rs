//! Local computation on all cores of the machine.

use rayon::prelude::*;

/// Calls `work` for every part: in parallel if there are several parts and several threads.
pub(crate) fn for_each<P: Send>(parts: impl IntoIterator<Item = P>, work: impl Fn(P) + Send + Sync) {
    let parts: Vec<P> = parts.into_iter().collect();
    if parts.len() < 2 || rayon::current_num_threads() == 1 {
        parts.into_iter().for_each(work);
    } else {
        parts.into_par_iter().for_each(work);
    }
}

/// Exactly `n` consecutive parts of `len` items each. Where the items end, parts are shorter or
/// empty.
pub(crate) fn parts<T>(items: &[T], len: usize, n: usize) -> impl Iterator<Item = &[T]> {
    (0..n).map(move |i| &items[items.len().min(i * len)..items.len().min((i + 1) * len)])
}

/// As [`parts`], mutable.
pub(crate) fn parts_mut<T>(mut items: &mut [T], len: usize, n: usize) -> impl Iterator<Item = &mut [T]> {
    (0..n).map(move |_| {
        let rest = std::mem::take(&mut items);
        let (part, rest) = rest.split_at_mut(len.min(rest.len()));
        items = rest;
        part
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_all_items_and_are_as_many_as_asked_for() {
        for (items, len, n, expected) in [(5, 2, 3, vec![2, 2, 1]), (0, 4, 2, vec![0, 0]), (3, 0, 1, vec![0])]
        {
            let mut items: Vec<usize> = (0..items).collect();
            assert_eq!(parts(&items, len, n).map(<[_]>::len).collect::<Vec<_>>(), expected);
            let found: Vec<Vec<usize>> = parts(&items, len, n).map(<[_]>::to_vec).collect();
            assert!(parts_mut(&mut items, len, n).map(|part| part.to_vec()).eq(found));
        }
    }
}
