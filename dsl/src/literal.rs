//! Reads numbers, sizes, durations, dates, timestamps and strings from their text. Knows no grammar and no types.

use std::borrow::Cow;

use chrono::{NaiveDate, NaiveDateTime};
use mlp_model::{Span, Value};

use crate::ast::Text;
use crate::diagnostic::Diagnostic;

/// A number as written.
#[derive(Debug, Clone, PartialEq)]
pub enum Number {
    /// Without its sign.
    Int(u64),
    /// A float, size, duration, date or timestamp.
    Other(Value),
}

/// Reads a token that begins with a digit.
pub fn read_number(text: &str, span: Span) -> Result<Number, Diagnostic> {
    let wrong = |message: String| Diagnostic::error("E0109", message).at(span, "");
    let bytes = text.as_bytes();
    let is_date_like = bytes.get(4) == Some(&b'-') && bytes.get(7) == Some(&b'-');
    if is_date_like {
        return if text.contains('T') {
            let example = "a timestamp is written `2026-09-01T12:30:00Z`, in UTC";
            let read = read_timestamp(text).map(|us| Number::Other(Value::Timestamp(us)));
            read.ok_or_else(|| wrong(format!("`{text}` is not a timestamp")).help(example))
        } else {
            let read = read_date(text).map(|days| Number::Other(Value::Date(days)));
            read.ok_or_else(|| wrong(format!("`{text}` is not a date")).help("a date is written `2026-09-01`"))
        };
    }
    if bytes.iter().all(|b| b.is_ascii_digit() || *b == b'_') {
        if has_leading_zero(text) {
            return Err(wrong(format!("`{text}` begins with a zero")).help("write the number without it"));
        }
        let Some(digits) = without_underscores(text) else { return Err(wrong(misplaced_underscore(text))) };
        return digits
            .parse()
            .map(Number::Int)
            .map_err(|_| wrong(format!("`{text}` does not fit into 64 bits")).help("write it as a float: `1e20`"));
    }
    if let Some(n) = read_size(text) {
        let n = n.ok_or_else(|| wrong(format!("`{text}` is too large a size")))?;
        return Ok(Number::Other(Value::SizeBytes(n)));
    }
    if let Some(unit) = ["KB", "MB", "GB", "TB", "iB"].into_iter().find(|unit| text.ends_with(unit)) {
        let problem = wrong(format!("`{text}` is not a size: `{unit}` is not a unit"));
        return Err(problem.help("the units are B, KiB, MiB, GiB and TiB: `8 GiB`"));
    }
    if let Some(ms) = read_duration(text) {
        let ms = ms.ok_or_else(|| wrong(format!("`{text}` is too long a duration")))?;
        return Ok(Number::Other(Value::DurationMs(ms)));
    }
    if !bytes.iter().all(|b| b.is_ascii_digit() || matches!(b, b'_' | b'.' | b'e' | b'E' | b'+' | b'-')) {
        return Err(wrong(format!("`{text}` is not a number"))
            .help("a name does not begin with a digit; durations have the units ms, s, m, h, d and w: `30m`"));
    }
    let Some(digits) = without_underscores(text) else { return Err(wrong(misplaced_underscore(text))) };
    match digits.parse::<f64>() {
        Ok(_) if has_leading_zero(text) => Err(wrong(format!("`{text}` begins with a zero"))),
        Ok(x) if x.is_finite() => Ok(Number::Other(Value::Float(x))),
        Ok(_) => Err(wrong(format!("`{text}` is too large for a float"))),
        Err(_) => Err(wrong(format!("`{text}` is not a number"))),
    }
}

/// Returns days since 1970-01-01.
pub fn read_date(text: &str) -> Option<i32> {
    // chrono would also take fewer digits.
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().filter(|_| text.len() == 10)?;
    i32::try_from(date.signed_duration_since(NaiveDate::default()).num_days()).ok()
}

/// Returns microseconds since 1970-01-01T00:00:00Z.
pub fn read_timestamp(text: &str) -> Option<i64> {
    let text = text.strip_suffix('Z')?;
    let fraction = text.split_once('.').map_or("0", |(_, fraction)| fraction);
    let is_plain = fraction.len() <= 6 && !fraction.is_empty() && fraction.bytes().all(|b| b.is_ascii_digit());
    // A leap second is no instant of its own in UTC microseconds.
    let is_leap = text.get(17..19) == Some("60");
    (is_plain && !is_leap && text.len() >= 19).then_some(())?;
    let time = NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").ok()?;
    Some(time.and_utc().timestamp_micros())
}

/// Returns whether the language can write this date: its year has four digits.
pub fn is_date(days: i32) -> bool {
    read_date(&date_text(days)) == Some(days)
}

/// Returns whether the language can write this timestamp.
pub fn is_timestamp(us: i64) -> bool {
    read_timestamp(&timestamp_text(us)) == Some(us)
}

/// Writes a date as the language does.
pub fn date_text(days: i32) -> String {
    let date = NaiveDate::default().checked_add_signed(chrono::TimeDelta::days(i64::from(days)));
    date.map_or_else(|| format!("day {days}"), |date| date.format("%Y-%m-%d").to_string())
}

/// Writes a timestamp as the language does.
pub fn timestamp_text(us: i64) -> String {
    let time = chrono::DateTime::from_timestamp_micros(us);
    time.map_or_else(|| format!("{us} us"), |time| time.format("%Y-%m-%dT%H:%M:%S%.fZ").to_string())
}

/// Returns bytes; the outer `None` is a text that is no size, the inner one a size that does not fit.
pub fn read_size(text: &str) -> Option<Option<u64>> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let bits = match &text[digits.len()..] {
        "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return None,
    };
    let digits = digits.trim_end_matches(' ');
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse::<u64>().ok()?.checked_mul(1 << bits))
}

/// Returns milliseconds; the outer `None` is a text that is no duration, the inner one a duration that does not fit.
pub fn read_duration(text: &str) -> Option<Option<u64>> {
    let mut total = Some(0_u64);
    let mut rest = text;
    while !rest.is_empty() {
        let n_digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, tail) = rest.split_at(n_digits);
        let n_letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at(n_letters);
        let unit_ms = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            _ => return None,
        };
        if digits.is_empty() {
            return None;
        }
        let part = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(unit_ms));
        total = total.zip(part).and_then(|(total, part)| total.checked_add(part));
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

/// Reads a string with its quotes; both forms are closed, which the outline has seen to.
pub fn read_string<'a>(text: &'a str, span: Span) -> Result<Text<'a>, Diagnostic> {
    match text.strip_prefix("\"\"\"") {
        Some(rest) if text.len() >= 6 => Ok(read_long_string(rest.strip_suffix("\"\"\"").unwrap_or(rest), span)),
        _ => read_short_string(text, span),
    }
}

fn read_short_string<'a>(text: &'a str, span: Span) -> Result<Text<'a>, Diagnostic> {
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let base = span.start + 1;
    if !inner.contains('\\') {
        return Ok(Text { value: Cow::Borrowed(inner), span, start: base, pieces: Vec::new() });
    }
    let (mut value, mut pieces) = (String::with_capacity(inner.len()), Vec::new());
    let mut rest = inner;
    while let Some(n) = rest.find('\\') {
        value.push_str(&rest[..n]);
        let at = inner.len() - rest.len() + n;
        let (character, len) = read_escape(&rest[n..]).map_err(|len| {
            let escape_span = Span { start: base + at, end: base + at + len, ..span };
            Diagnostic::error("E0109", format!("`{}` stands for no character", &rest[n..n + len]))
                .at(escape_span, "")
                .help("the escapes are `\\\"`, `\\\\`, `\\n`, `\\r`, `\\t` and `\\u{20AC}`")
        })?;
        // The escape is a piece of its own, so that the place of what follows is right.
        pieces.push((value.len(), base + at));
        value.push(character);
        pieces.push((value.len(), base + at + len));
        rest = &rest[n + len..];
    }
    value.push_str(rest);
    Ok(Text { value: Cow::Owned(value), span, start: base, pieces })
}

/// Reads the escape that `text` begins with: the character and how many bytes are read, or how many are wrong.
fn read_escape(text: &str) -> Result<(char, usize), usize> {
    let mut chars = text.chars();
    chars.next();
    let character = match chars.next() {
        Some('"') => '"',
        Some('\\') => '\\',
        Some('n') => '\n',
        Some('r') => '\r',
        Some('t') => '\t',
        Some('u') => {
            let digits = text.strip_prefix("\\u{").and_then(|text| text.split_once('}')).map(|(digits, _)| digits);
            let digits =
                digits.filter(|digits| (1..=6).contains(&digits.len()) && !digits.starts_with('+')).ok_or(2_usize)?;
            let len = digits.len() + 4;
            let code = u32::from_str_radix(digits, 16).map_err(|_| len)?;
            return char::from_u32(code).map(|character| (character, len)).ok_or(len);
        }
        Some(other) => return Err(1 + other.len_utf8()),
        None => return Err(1),
    };
    Ok((character, 2))
}

/// Reads what stands between `"""`: when it begins with a line break, that, the shared indentation and the line break
/// before the closing quotes are dropped.
fn read_long_string(inner: &str, span: Span) -> Text<'_> {
    let base = span.start + 3;
    let is_block = inner.starts_with('\n') || inner.starts_with("\r\n");
    let mut lines: Vec<(usize, &str)> = Vec::new();
    let mut at = 0;
    for line in inner.split('\n') {
        lines.push((at, line.strip_suffix('\r').unwrap_or(line)));
        at += line.len() + 1;
    }
    let mut indent = 0;
    if is_block {
        lines.remove(0);
        if lines.last().is_some_and(|(_, line)| line.trim_matches([' ', '\t']).is_empty()) {
            lines.pop();
        }
        let blanks = |line: &str| line.len() - line.trim_start_matches([' ', '\t']).len();
        let with_text = lines.iter().filter(|(_, line)| blanks(line) < line.len());
        indent = with_text.map(|(_, line)| blanks(line)).min().unwrap_or(0);
    }
    let (mut value, mut pieces) = (String::with_capacity(inner.len()), Vec::with_capacity(lines.len()));
    for (i, (start, line)) in lines.iter().enumerate() {
        if i > 0 {
            value.push('\n');
        }
        let is_blank = line.trim_matches([' ', '\t']).is_empty();
        let skipped = if is_block && is_blank { line.len() } else { indent };
        pieces.push((value.len(), base + start + skipped));
        value.push_str(&line[skipped..]);
    }
    Text { value: Cow::Owned(value), span, start: base, pieces }
}

fn without_underscores(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let is_digit = |i: Option<usize>| i.and_then(|i| bytes.get(i)).is_some_and(u8::is_ascii_digit);
    let placed = |i: usize| is_digit(i.checked_sub(1)) && is_digit(Some(i + 1));
    let all_placed = (0..bytes.len()).filter(|i| bytes[*i] == b'_').all(placed);
    all_placed.then(|| text.replace('_', ""))
}

fn misplaced_underscore(text: &str) -> String {
    format!("`{text}` has a `_` that is not between two digits")
}

fn has_leading_zero(text: &str) -> bool {
    text.len() > 1 && text.starts_with('0') && text.as_bytes().get(1).is_some_and(|b| b.is_ascii_digit() || *b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(text: &str) -> Text<'_> {
        read_string(text, Span { source: 0, start: 10, end: 10 + text.len() }).expect("a good string")
    }

    #[test]
    fn numbers_mean_what_they_say() {
        let span = Span::default();
        for (text, expected) in [
            ("0", Number::Int(0)),
            ("1_000", Number::Int(1000)),
            ("9223372036854775808", Number::Int(1 << 63)),
            ("1e-3", Number::Other(Value::Float(0.001))),
            ("2.50", Number::Other(Value::Float(2.5))),
            ("1h30m", Number::Other(Value::DurationMs(5_400_000))),
            ("1970-01-02", Number::Other(Value::Date(1))),
            ("2024-02-29", Number::Other(Value::Date(19_782))),
            ("1969-12-31T23:59:59.5Z", Number::Other(Value::Timestamp(-500_000))),
        ] {
            assert_eq!(read_number(text, span).as_ref(), Ok(&expected), "{text}");
        }
        for text in [
            "007",
            "1_",
            "1__0",
            "1_e3",
            "30x",
            "5e",
            "1e999",
            "2023-02-29",
            "2026-13-01",
            "2026-01-01T10:00:00",
            "2026-01-01T10:00:60Z",
            "2026-01-01T10:00:00.1234567Z",
            "99999999999999w",
            "99999999999999999999",
        ] {
            assert!(read_number(text, span).is_err(), "{text}");
        }
    }

    #[test]
    fn dates_and_timestamps_print_as_they_are_written() {
        for text in ["2026-09-01", "1900-01-31"] {
            assert_eq!(read_date(text).map(date_text).as_deref(), Some(text));
        }
        for text in ["2026-09-01T12:30:00Z", "1969-12-31T23:59:59.500Z"] {
            assert_eq!(read_timestamp(text).map(timestamp_text).as_deref(), Some(text));
        }
    }

    #[test]
    fn long_strings_lose_the_indentation_they_share() {
        for (text, expected) in [
            ("\"\"\"plain \\n\"\"\"", "plain \\n"),
            ("\"\"\"\n    select 1\n      from t\n\n    where x\n    \"\"\"", "select 1\n  from t\n\nwhere x"),
            ("\"\"\"\r\n  a\r\n  b\r\n\"\"\"", "a\nb"),
            ("\"\"\"\n\"\"\"", ""),
            ("\"\"\"\"\"\"", ""),
            ("\"\"\"  a\n  b\"\"\"", "  a\n  b"),
        ] {
            assert_eq!(string(text).value, expected, "{text:?}");
        }
    }

    #[test]
    fn places_inside_strings_are_found_behind_escapes_and_indentation() {
        let escaped = string(r#""a\tb\u{20AC}c""#);
        assert_eq!(escaped.value, "a\tb€c");
        let at = |text: &Text<'_>, start, end| {
            let span = text.span_of(start, end);
            (span.start - 10, span.end - 10)
        };
        assert_eq!(at(&escaped, 0, 1), (1, 2));
        assert_eq!(at(&escaped, 1, 2), (2, 4));
        assert_eq!(at(&escaped, 2, 3), (4, 5));
        assert_eq!(at(&escaped, 6, 7), (13, 14));
        let block = string("\"\"\"\n   select x\n   from y\"\"\"");
        assert_eq!(at(&block, 9, 13), (19, 23));
        // Out of range stays inside.
        assert_eq!(at(&block, 500, 900), (28, 28));
    }
}
