//! How much memory a step took in this process. The kernel keeps the peak, and forgets it when asked to.
//!
//! Where the kernel cannot do one of both, nothing is told.

use std::fs;

/// Forgets the peak of the steps before.
pub fn begin() {
    // 5: the peak becomes what the process has now.
    let _ = fs::write("/proc/self/clear_refs", "5");
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
        super::begin();
        let before = super::bytes().unwrap();
        let much = vec![1_u8; 64 << 20];
        assert_eq!(much[much.len() / 2], 1);
        drop(much);
        assert!(super::bytes().unwrap() >= before + (60 << 20));
        super::begin();
        assert!(super::bytes().unwrap() < before + (40 << 20));
    }
}
