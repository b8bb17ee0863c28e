//! Amounts as people write them on the command line: `30d`, `10GiB`, `20%`.

use std::time::Duration;

/// Reads a duration above 0 as the language writes it: `30d`, `1h30m`.
pub fn duration(text: &str) -> Result<Duration, String> {
    match mlp_dsl::read_duration(text) {
        Some(Some(ms)) if ms > 0 => Ok(Duration::from_millis(ms)),
        Some(None) => Err("it is too long".to_owned()),
        _ => Err("write a duration such as 30d, 12h, 1h30m or 90s".to_owned()),
    }
}

/// Reads a number of bytes: a number and a unit, of 1024 (`KiB`, `MiB`, `GiB`, `TiB`) or of 1000 (`kB`, `MB`, `GB`, `TB`).
pub fn size(text: &str) -> Result<u64, String> {
    let units = [
        ("B", 1.0),
        ("kB", 1e3),
        ("MB", 1e6),
        ("GB", 1e9),
        ("TB", 1e12),
        ("KiB", 1024.0),
        ("MiB", 1_048_576.0),
        ("GiB", 1_073_741_824.0),
        ("TiB", 1_099_511_627_776.0),
    ];
    let (number, unit) = split(text);
    let factor = units.iter().find(|known| known.0.eq_ignore_ascii_case(unit)).map(|known| known.1);
    match (number.parse::<f64>().ok(), factor) {
        (Some(number), Some(factor)) => Ok((number * factor) as u64),
        _ => Err("write a number and a unit: 500MiB or 10GiB".to_owned()),
    }
}

/// Reads a percentage above 0 and up to 100; the sign may be left out.
pub fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim().parse::<f64>().ok();
    number.filter(|percent| *percent > 0.0 && *percent <= 100.0).ok_or_else(|| "write a part of 100: 20%".to_owned())
}

fn split(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_people_write_them() {
        assert_eq!(size("10GiB"), Ok(10 << 30));
        assert_eq!(size("1.5 kb"), Ok(1500));
        assert_eq!((percent("20%"), percent("0.5")), (Ok(20.0), Ok(0.5)));
        for wrong in ["", "10", "GiB", "-1GiB", "10 gigs", "1.2.3GiB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
        for wrong in ["0", "-5%", "101%", "all", "NaN"] {
            assert!(percent(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_are_those_of_the_language() {
        let ms = |text| duration(text).ok().map(|duration| duration.as_millis());
        let cases = [("2h", 7_200_000), ("1h30m", 5_400_000), ("90s", 90_000), ("500ms", 500), ("30d", 2_592_000_000)];
        cases.iter().for_each(|(text, expected)| assert_eq!(ms(text), Some(*expected), "{text}"));
        for wrong in
            ["", "2", "h", "0s", "-1h", "1.5h", "2 h", "2y", "3 months", "99999999999999999999s", "20000000000000000s"]
        {
            assert_eq!(ms(wrong), None, "{wrong}");
        }
    }
}
