//! A window found by an algorithm: greedy peeling of a random local code.

/// Coordinates of the smallest window met while the coordinate in the fewest samples is removed
/// again and again.
///
/// The code has `n` samples of `locality` coordinates out of `k`, drawn from `seed`; a window has
/// at least `checks` more samples than coordinates. Time and memory are linear in `n locality`.
/// `None` if there is no window.
pub fn peeled_window(n: usize, k: usize, locality: usize, checks: usize, seed: u64) -> Option<usize> {
    let mut random = SplitMix(seed);
    let code = (0..n * locality).map(|_| random.below(k)).collect();
    let mut graph = Graph::new(code, k, locality);
    let mut smallest = None;
    while graph.coordinates > 0 {
        if graph.samples >= graph.coordinates + checks {
            smallest = Some(graph.coordinates);
        }
        graph.remove_rarest();
    }
    smallest
}

/// Samples as hyperedges over coordinates, with coordinates sorted into buckets by how many samples
/// use them.
struct Graph {
    locality: usize,
    code: Vec<usize>,
    uses: Vec<Vec<usize>>,
    degree: Vec<usize>,
    removed: Vec<bool>,
    gone: Vec<bool>,
    buckets: Vec<Vec<usize>>,
    lowest: usize,
    coordinates: usize,
    samples: usize,
}

impl Graph {
    fn new(code: Vec<usize>, k: usize, locality: usize) -> Self {
        let mut uses = vec![Vec::new(); k];
        for (i, &x) in code.iter().enumerate() {
            uses[x].push(i / locality);
        }
        let degree: Vec<usize> = uses.iter().map(Vec::len).collect();
        let most = degree.iter().max().copied().unwrap_or(0);
        let mut buckets = vec![Vec::new(); most + 1];
        for (x, &d) in degree.iter().enumerate() {
            buckets[d].push(x);
        }
        let samples = code.len() / locality;
        let (removed, gone) = (vec![false; k], vec![false; samples]);
        Self { locality, code, uses, degree, removed, gone, buckets, lowest: 0, coordinates: k, samples }
    }

    /// Removes a coordinate of least degree and the samples that use it. A bucket may hold outdated
    /// entries.
    fn remove_rarest(&mut self) {
        let x = loop {
            match self.buckets[self.lowest].pop() {
                Some(x) if !self.removed[x] && self.degree[x] == self.lowest => break x,
                Some(_) => {}
                None => self.lowest += 1,
            }
        };
        self.removed[x] = true;
        self.coordinates -= 1;
        for sample in std::mem::take(&mut self.uses[x]) {
            self.remove_sample(sample);
        }
    }

    fn remove_sample(&mut self, sample: usize) {
        if std::mem::replace(&mut self.gone[sample], true) {
            return;
        }
        self.samples -= 1;
        for i in sample * self.locality..(sample + 1) * self.locality {
            let x = self.code[i];
            self.degree[x] -= 1;
            self.buckets[self.degree[x]].push(x);
            self.lowest = self.lowest.min(self.degree[x]);
        }
    }
}

/// The generator of Steele, Lea and Flood (OOPSLA 2014).
struct SplitMix(u64);

impl SplitMix {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(z ^ (z >> 31)) * bound as u128) >> 64) as usize
    }
}
