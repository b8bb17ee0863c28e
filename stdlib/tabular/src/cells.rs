//! Reads and writes single values as text: the cells of a CSV file.
//!
//! Parsing is exact: a number that does not fit is refused, never rounded to a bound; no cell means two things. Writing gives
//! text that parses to the same value.

use std::fmt::Write;

/// Parses digits with an optional sign.
pub(crate) fn parse_int(text: &str) -> Option<i64> {
    text.parse().ok()
}

/// Parses a decimal number, with or without an exponent. `nan` and `inf` are refused: as a cell they mean that something
/// went wrong, or blank.
pub(crate) fn parse_float(text: &str) -> Option<f64> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    text.parse().ok().filter(|x: &f64| x.is_finite())
}

/// Parses true/false, yes/no, t/f, y/n, 1/0 in any case.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    let is_one_of = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is_one_of(&["true", "yes", "1", "t", "y"]) {
        Some(true)
    } else if is_one_of(&["false", "no", "0", "f", "n"]) {
        Some(false)
    } else {
        None
    }
}

/// Parses `2026-11-23` to days since 1970-01-01.
pub(crate) fn parse_date(text: &str) -> Option<i32> {
    let bytes = text.as_bytes();
    let [y @ .., b'-', m1, m2, b'-', d1, d2] = bytes else { return None };
    if y.len() != 4 {
        return None;
    }
    let (year, month, day) = (digits(y)?, digits(&[*m1, *m2])?, digits(&[*d1, *d2])?);
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let n_days = match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    (1..=n_days).contains(&day).then(|| days_from_civil(year, month, day)).and_then(|days| i32::try_from(days).ok())
}

/// Parses `2026-11-23T14:02:11.5+01:00`, `2026-11-23 14:02:11` and what lies between to microseconds since 1970 in UTC.
/// Without an offset the time is in UTC. More than six digits behind the second are refused unless they are zeros.
pub(crate) fn parse_timestamp(text: &str) -> Option<i64> {
    let (date, rest) = text.split_at_checked(10)?;
    let days = i64::from(parse_date(date)?);
    let [b'T' | b't' | b' ', h1, h2, b':', m1, m2, b':', s1, s2, rest @ ..] = rest.as_bytes() else { return None };
    let (hour, minute, second) = (digits(&[*h1, *h2])?, digits(&[*m1, *m2])?, digits(&[*s1, *s2])?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (micros, rest) = match rest {
        [b'.', fraction @ ..] => {
            let n = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
            let (fraction, rest) = fraction.split_at(n);
            let (kept, cut) = fraction.split_at(n.min(6));
            if n == 0 || cut.iter().any(|b| *b != b'0') {
                return None;
            }
            (digits(kept)? * 10_i64.pow(6 - kept.len() as u32), rest)
        }
        rest => (0, rest),
    };
    let offset_minutes = match rest {
        [] | [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (digits(&[*h1, *h2])?, digits(&[*m1, *m2])?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 60 + minutes) * if *sign == b'+' { 1 } else { -1 }
        }
        _ => return None,
    };
    let seconds = days * 86_400 + hour * 3_600 + (minute - offset_minutes) * 60 + second;
    Some(seconds * 1_000_000 + micros)
}

/// Parses a plain decimal number to units of the last place. More places than `scale` are refused unless they are zeros.
pub(crate) fn parse_decimal(text: &str, precision: u8, scale: i8) -> Option<i128> {
    let (negative, text) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let scale = usize::try_from(scale).ok()?;
    let (kept, cut) = fraction.split_at_checked(scale).unwrap_or((fraction, ""));
    let is_number = !(whole.is_empty() && fraction.is_empty());
    if !is_number || cut.bytes().any(|b| b != b'0') {
        return None;
    }
    let mut units: i128 = 0;
    for b in whole.bytes().chain(kept.bytes()) {
        let digit = b.is_ascii_digit().then(|| i128::from(b - b'0'))?;
        units = units.checked_mul(10)?.checked_add(digit)?;
    }
    units = units.checked_mul(10_i128.checked_pow((scale - kept.len()) as u32)?)?;
    if units >= 10_i128.checked_pow(u32::from(precision))? {
        return None;
    }
    Some(if negative { -units } else { units })
}

/// Parses `90s`, `1h30m`, `250ms` to milliseconds; units d, h, m, s, ms, each a whole number, largest first.
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let mut total: i64 = 0;
    let mut smallest = i64::MAX;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let n = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(n);
        let n = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at(n);
        let (_, millis) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
        if millis >= smallest {
            return None;
        }
        smallest = millis;
        total = total.checked_add(number.parse::<i64>().ok()?.checked_mul(millis)?)?;
        rest = after;
    }
    Some(if negative { -total } else { total })
}

const UNITS: [(&str, i64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

pub(crate) fn write_float(x: f64, out: &mut String) {
    let _ = write!(out, "{x:?}");
}

pub(crate) fn write_date(days: i32, out: &mut String) {
    let (year, month, day) = civil_from_days(i64::from(days));
    let _ = write!(out, "{year:04}-{month:02}-{day:02}");
}

pub(crate) fn write_timestamp(micros: i64, out: &mut String) {
    let (seconds, micros) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil_from_days(days);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    let _ = write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if micros > 0 {
        let _ = write!(out, ".{micros:06}");
    }
    out.push('Z');
}

pub(crate) fn write_decimal(units: i128, scale: i8, out: &mut String) {
    let sign = if units < 0 { "-" } else { "" };
    let scale = usize::from(scale.unsigned_abs());
    let digits = format!("{:0>width$}", units.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let point = if scale > 0 { "." } else { "" };
    let _ = write!(out, "{sign}{whole}{point}{fraction}");
}

pub(crate) fn write_duration(millis: i64, out: &mut String) {
    let sign = if millis < 0 { "-" } else { "" };
    let magnitude = millis.unsigned_abs();
    let unit = UNITS.into_iter().find(|(_, unit)| magnitude.is_multiple_of(unit.unsigned_abs()) && magnitude > 0);
    let (name, unit) = unit.unwrap_or(("s", 1_000));
    let _ = write!(out, "{sign}{}{name}", magnitude / unit.unsigned_abs());
}

fn digits(bytes: &[u8]) -> Option<i64> {
    bytes.iter().try_fold(0, |n: i64, b| b.is_ascii_digit().then(|| n * 10 + i64::from(b - b'0')))
}

/// Days since 1970-01-01 of a day in the Gregorian calendar; Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_exact_or_refused() {
        assert_eq!(parse_int("-9223372036854775808"), Some(i64::MIN));
        for text in ["9223372036854775808", "1.0", "1e3", "", "-", "1 ", "0x1", "1_000", "١"] {
            assert_eq!(parse_int(text), None, "{text}");
        }
        assert_eq!(parse_float("0.1"), Some(0.1));
        assert_eq!(parse_float("-1e-400"), Some(0.0));
        assert_eq!(parse_float("9007199254740993"), Some(9_007_199_254_740_992.0));
        for text in ["1e999", "nan", "NaN", "-inf", "infinity", "1,5", "", ".", "1e", "0x1p3", "+-1", " 1"] {
            assert_eq!(parse_float(text), None, "{text}");
        }
        assert_eq!(parse_decimal("-12.5", 4, 2), Some(-1250));
        assert_eq!(parse_decimal("12.5000", 4, 2), Some(1250));
        assert_eq!(parse_decimal(".5", 4, 2), Some(50));
        assert_eq!(parse_decimal("007", 3, 0), Some(7));
        assert_eq!(parse_decimal(&"9".repeat(38), 38, 0), Some(10_i128.pow(38) - 1));
        for text in ["100", "12.345", "1e2", "", ".", "-", "1.2.3", "12,5", &"9".repeat(60)] {
            assert_eq!(parse_decimal(text, 4, 2), None, "{text}");
        }
    }

    #[test]
    fn bools_have_five_spellings_in_any_case() {
        for (text, value) in
            [("TRUE", true), ("Yes", true), ("t", true), ("Y", true), ("1", true), ("no", false), ("F", false)]
        {
            assert_eq!(parse_bool(text), Some(value), "{text}");
        }
        for text in ["", "2", "ye", "on", "truee"] {
            assert_eq!(parse_bool(text), None, "{text}");
        }
    }

    #[test]
    fn days_and_instants_that_do_not_exist_are_refused() {
        assert_eq!(parse_date("1970-01-01"), Some(0));
        assert_eq!(parse_date("2000-02-29"), Some(11_016));
        assert_eq!(parse_date("1969-12-31"), Some(-1));
        for text in
            ["1900-02-29", "2026-13-01", "2026-00-10", "2026-04-31", "2026-4-1", "20260401", "26-04-01", "2026-04-01 "]
        {
            assert_eq!(parse_date(text), None, "{text}");
        }
        let noon = 12 * 3_600 * 1_000_000;
        for text in [
            "1970-01-01T12:00:00Z",
            "1970-01-01 12:00:00",
            "1970-01-01t14:00:00.000000000+02:00",
            "1970-01-01T11:30:00-00:30",
        ] {
            assert_eq!(parse_timestamp(text), Some(noon), "{text}");
        }
        assert_eq!(parse_timestamp("1970-01-01T00:00:00.5"), Some(500_000));
        assert_eq!(parse_timestamp("1969-12-31T23:59:59.999999Z"), Some(-1));
        for text in [
            "1970-01-01",
            "1970-01-01T24:00:00Z",
            "1970-01-01T00:60:00Z",
            "1970-01-01T23:59:60Z",
            "1970-01-01T00:00:00.Z",
            "1970-01-01T00:00:00.0000001Z",
            "1970-01-01T00:00:00+0200",
            "1970-01-01T00:00",
            "1970-01-01T00:00:00 Z",
            "ü970-01-01T00:00:00Z",
        ] {
            assert_eq!(parse_timestamp(text), None, "{text}");
        }
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(parse_duration("1h30m"), Some(5_400_000));
        assert_eq!(parse_duration("-250ms"), Some(-250));
        for text in ["", "-", "5", "h", "1h1h", "1m1h", "1.5h", "1 h", "99999999999999d"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_written_parses_to_the_same_value() {
        let text = |write: &dyn Fn(&mut String)| {
            let mut text = String::new();
            write(&mut text);
            text
        };
        for days in [0, -1, 11_016, 2_932_896, -719_528] {
            assert_eq!(parse_date(&text(&|out| write_date(days, out))), Some(days));
        }
        for micros in [0, -1, 1, 1_700_000_000_000_000, 253_402_300_799_999_999, -62_167_219_200_000_000] {
            assert_eq!(parse_timestamp(&text(&|out| write_timestamp(micros, out))), Some(micros));
        }
        for units in [0, 5, -5, 123_456, -99, i128::from(i64::MAX)] {
            assert_eq!(parse_decimal(&text(&|out| write_decimal(units, 3, out)), 38, 3), Some(units));
            assert_eq!(parse_decimal(&text(&|out| write_decimal(units, 0, out)), 38, 0), Some(units));
        }
        for millis in [0, 1, -1, 90_000, 86_400_000, 5_400_001, i64::MAX] {
            assert_eq!(parse_duration(&text(&|out| write_duration(millis, out))), Some(millis));
        }
        for x in [0.1, 1.0, -1e-300, 1e300, 5e-324, f64::MAX] {
            assert_eq!(parse_float(&text(&|out| write_float(x, out))), Some(x));
        }
    }
}
