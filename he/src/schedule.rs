//! Which outputs of which jobs share a reply ciphertext; both parties compute the same from the
//! layouts.
//!
//! Jobs of equal format (ring, modulus, reply width, k, s) form a class; their units, job after
//! job, fill reply ciphertexts of k / 2^s units. The last reply of a class may hold fewer and is
//! packed over fewer levels. Classes come in the order of their first job.

use crate::layout::{Format, Layout};

/// Jobs whose units are packed together.
pub(crate) struct Class {
    /// (job, index of its first unit).
    pub(crate) jobs: Vec<(usize, usize)>,
    pub(crate) units: usize,
    pub(crate) format: Format,
}

impl Class {
    fn of(layout: &Layout) -> Self {
        Self { jobs: Vec::new(), units: 0, format: layout.format() }
    }

    fn takes(&self, layout: &Layout) -> bool {
        self.format == layout.format()
    }

    /// Units of a full reply.
    pub(crate) fn units_per_reply(&self) -> usize {
        self.format.k >> self.format.split
    }

    pub(crate) fn replies(&self) -> usize {
        self.units.div_ceil(self.units_per_reply())
    }

    /// Levels d that pack the units of one reply.
    pub(crate) fn packed_levels(&self, reply: usize) -> u32 {
        let units = (self.units - reply * self.units_per_reply()).min(self.units_per_reply());
        units.next_power_of_two().ilog2()
    }

    /// Distance in coefficients between neighbouring units of one reply.
    pub(crate) fn unit_gap(&self, reply: usize) -> usize {
        self.units_per_reply() >> self.packed_levels(reply)
    }
}

/// The classes of these jobs.
pub(crate) fn classes(layouts: &[Layout]) -> Vec<Class> {
    let mut classes: Vec<Class> = Vec::new();
    for (job, layout) in layouts.iter().enumerate() {
        let index = classes.iter().position(|class| class.takes(layout)).unwrap_or_else(|| {
            classes.push(Class::of(layout));
            classes.len() - 1
        });
        let class = &mut classes[index];
        class.jobs.push((job, class.units));
        class.units += layout.units();
    }
    classes
}

/// Calls `put` for every output of a job that lies in reply `reply` of its class: (token, column,
/// coefficient).
pub(crate) fn for_each_output(
    class: &Class,
    layout: &Layout,
    first_unit: usize,
    mut put: impl FnMut(usize, usize, usize, usize),
) {
    for token in 0..layout.shape.tokens {
        for column in 0..layout.shape.outer {
            let (unit, coefficient) = layout.place(token, column);
            let unit = first_unit + unit;
            let (reply, inside) = (unit / class.units_per_reply(), unit % class.units_per_reply());
            put(token, column, reply, coefficient + inside * class.unit_gap(reply));
        }
    }
}
