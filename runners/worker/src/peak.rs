//! How much memory a step took in this process. The kernel keeps the peak, and forgets it when asked to.
//!
//! Where the kernel cannot do one of both, nothing is told.

use std::fs;

/// Forgets the peak of the steps before. Returns whether that is possible here.
pub fn begin() -> bool {
    // 5: the peak becomes what the process has now.
    fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// Returns the most memory that this process has had since, the libraries that it uses included.
pub fn bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_ascii_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_peak_is_seen_and_forgotten() {
        assert!(super::begin());
        let before = super::bytes().unwrap();
        let mut much = vec![0_u8; 64 << 20];
        much.iter_mut().step_by(512).for_each(|byte| *byte = 1);
        assert_eq!(much.iter().map(|byte| u64::from(*byte)).sum::<u64>(), 64 << 11);
        let peak = super::bytes().unwrap();
        assert!(peak >= before + (60 << 20), "{before} {peak}");
        drop(much);
        assert!(super::begin());
        let after = super::bytes().unwrap();
        assert!(after < peak - (40 << 20), "{peak} {after}");
    }
}
