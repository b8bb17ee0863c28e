//! Amounts as people write them on the command line: `30d`, `10GiB`, `20%`.

use std::time::Duration;

/// Reads a span of time: a whole number and `s`, `m`, `h`, `d` or `w`.
pub fn age(text: &str) -> Result<Duration, String> {
    let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400), ("w", 604_800)];
    let (number, unit) = split(text);
    let seconds = units.iter().find(|known| known.0 == unit).map(|known| known.1);
    match (number.parse::<u64>().ok(), seconds) {
        (Some(number), Some(seconds)) => {
            number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(|| "it is too long".to_owned())
        }
        _ => Err("write a number and a unit: 12h, 30d or 8w".to_owned()),
    }
}

/// Reads a duration as the language writes it: `1h30m`.
pub fn duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, u64); 6] =
        [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("w", 604_800_000)];
    let wrong = || "write a duration such as 2h, 1h30m or 90s".to_owned();
    let (mut rest, mut total) = (text, 0_u64);
    while !rest.is_empty() {
        let n_digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, after) = rest.split_at(n_digits);
        let n_letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(n_letters);
        let (_, factor) = UNITS.iter().find(|(known, _)| *known == unit).ok_or_else(wrong)?;
        let part = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*factor)).ok_or_else(wrong)?;
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = after;
    }
    if total == 0 { Err(wrong()) } else { Ok(Duration::from_millis(total)) }
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

/// Writes a number of bytes in the unit that suits it.
pub fn bytes(n_bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut amount = n_bytes as f64;
    let mut at = 0;
    while amount >= 1024.0 && at + 1 < units.len() {
        amount /= 1024.0;
        at += 1;
    }
    if at == 0 { format!("{n_bytes} B") } else { format!("{amount:.1} {}", units[at]) }
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
        assert_eq!(age("30d"), Ok(Duration::from_secs(30 * 86_400)));
        assert_eq!(age("12h"), Ok(Duration::from_secs(12 * 3600)));
        assert_eq!(size("10GiB"), Ok(10 << 30));
        assert_eq!(size("1.5 kb"), Ok(1500));
        assert_eq!((percent("20%"), percent("0.5")), (Ok(20.0), Ok(0.5)));
        for wrong in ["", "30", "d", "-3d", "3 months", "1.5d", "99999999999999999999d", "18446744073709551615w"] {
            assert!(age(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "10", "GiB", "-1GiB", "10 gigs", "1.2.3GiB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
        for wrong in ["0", "-5%", "101%", "all", "NaN"] {
            assert!(percent(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn bytes_are_written_in_the_unit_that_suits_them() {
        let table =
            [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 30, "5.0 GiB"), (u64::MAX, "16777216.0 TiB")];
        for (n_bytes, text) in table {
            assert_eq!(bytes(n_bytes), text);
        }
    }

    #[test]
    fn durations_are_those_of_the_language() {
        let ms = |text| duration(text).ok().map(|duration| duration.as_millis());
        let cases = [("2h", 7_200_000), ("1h30m", 5_400_000), ("90s", 90_000), ("500ms", 500), ("1w", 604_800_000)];
        cases.iter().for_each(|(text, expected)| assert_eq!(ms(text), Some(*expected), "{text}"));
        for wrong in ["", "2", "h", "0s", "-1h", "1.5h", "2 h", "2y", "99999999999999999999s", "20000000000000000s"] {
            assert_eq!(ms(wrong), None, "{wrong}");
        }
    }
}
