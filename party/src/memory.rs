//! Amounts of memory: as users write them, as they are shown, and what there is.

use bytesize::ByteSize;

/// Bytes from what a user writes: `800MB`, `8GB`, `2.5GiB`, or a number of bytes.
///
/// # Errors
/// In words, what is expected.
pub fn parse(text: &str) -> Result<usize, String> {
    let bytes = text.parse::<ByteSize>().ok().and_then(|size| usize::try_from(size.as_u64()).ok());
    bytes.filter(|&bytes| bytes > 0).ok_or_else(|| "expected an amount such as 800MB or 8GB".into())
}

/// An amount in words.
pub fn in_words(bytes: usize) -> String {
    ByteSize::b(bytes as u64).display().si().to_string()
}

/// Bytes that are free in the system, or in the group that limits this process if that has less.
pub fn available() -> usize {
    let memory = sysinfo::RefreshKind::nothing().with_memory(sysinfo::MemoryRefreshKind::everything());
    let system = sysinfo::System::new_with_specifics(memory);
    let free = system.available_memory();
    // What a group has of files can be given back.
    let of_group = |group: sysinfo::CGroupLimits| group.total_memory.saturating_sub(group.rss);
    let free = system.cgroup_limits().map_or(free, |group| free.min(of_group(group)));
    usize::try_from(free).unwrap_or(usize::MAX)
}

/// Bytes that this process holds in memory, files that it has mapped included; 0 where the system
/// does not say.
pub fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok());
    kilobytes.unwrap_or(0) << 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_and_shown() {
        let read = ["8GB", "800 MB", "2GiB", "1.5gb", "4096"].map(|text| parse(text).unwrap());
        assert_eq!(read, [8_000_000_000, 800_000_000, 2 << 30, 1_500_000_000, 4096]);
        ["", "0", "-1GB", "much", "8XB"].iter().for_each(|text| {
            assert!(parse(text).is_err(), "{text}");
        });
        assert_eq!(in_words(1_536_000_000), "1.5 GB");
        assert!((1 << 20..1 << 50).contains(&available()), "{}", available());
        assert!((1 << 20..1 << 50).contains(&resident()), "{}", resident());
    }
}
