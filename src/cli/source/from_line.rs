//! From_ lines: the separators of an mbox.
//!
//! A line is a From_ line if and only if it starts with `From `, is at most [`LEN_MAX`] bytes long
//! and has a time and a year in the way `git mailsplit` and `formail` want them: a word `hh:mm` or
//! `hh:mm:ss`, then a year, with a zone (`+0200`, `EST`, `MET DST`) before the year or after it, or
//! none. Words before and after do not matter: the sender may hold spaces (`a at b.c`), and UUCP
//! puts `remote from host` at the end.
//!
//! What is recognised must not depend on whether the date makes sense: a From_ line of 31 February
//! still separates two messages, it only has no date to give.

use crate::civil;

/// Longest From_ line in bytes, its line end included. A longer line is text: no program writes
/// one, and a reader must not hold a line of any length to find out.
pub(crate) const LEN_MAX: usize = 4096;

/// The sender on a From_ line that says: the newline before the blank line is not the message's.
/// See the `mbox` sink.
pub(crate) const NO_FINAL_NEWLINE: &str = "NO-FINAL-NEWLINE";

/// What a From_ line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FromLine {
    /// Seconds since the epoch and the zone in minutes east of UTC (0 where the line has none);
    /// `None` when the date does not exist.
    pub(crate) received: Option<(i64, i16)>,
    /// The message has no newline at its end, the one found there was added by our sink.
    pub(crate) no_final_newline: bool,
}

/// Reads a line, with or without its line end; `None` when it is not a From_ line.
pub(crate) fn parse(line: &[u8]) -> Option<FromLine> {
    if line.len() > LEN_MAX {
        return None;
    }
    let words: Vec<&[u8]> = line
        .strip_prefix(b"From ")?
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
        .collect();
    // From the right: what looks like a time in the sender's name comes before the date.
    (0..words.len()).rev().find_map(|index| {
        let (before, from_time) = words.split_at_checked(index)?;
        let (time, after) = from_time.split_first()?;
        let clock = clock(time)?;
        let (year, zone) = year_and_zone(after)?;
        Some(FromLine {
            received: seconds(before, clock, year)
                .map(|local| (local - i64::from(zone) * 60, zone)),
            no_final_newline: words.first() == Some(&NO_FINAL_NEWLINE.as_bytes()),
        })
    })
}

/// Whether a file that starts like this is an mbox: its first line that is not blank is a From_ line,
/// after at most [`LEN_MAX`] bytes of blank lines. Twice that is enough of a start.
pub(super) fn starts_mbox(start: &[u8]) -> bool {
    let mut blank_len = 0;
    start
        .split_inclusive(|byte| *byte == b'\n')
        .find(|line| {
            let is_blank = line.trim_ascii().is_empty();
            blank_len += if is_blank { line.len() } else { 0 };
            !is_blank
        })
        .is_some_and(|line| blank_len <= LEN_MAX && parse(line).is_some())
}

/// Hours, minutes and seconds of a word `h:mm`, `hh:mm` or `hh:mm:ss`, in or out of range.
fn clock(word: &[u8]) -> Option<[i64; 3]> {
    let mut parts = word.split(|byte| *byte == b':');
    let (hour, minute) = (parts.next()?, parts.next()?);
    let second = parts.next().unwrap_or(b"00");
    let shape = matches!(hour.len(), 1 | 2) && minute.len() == 2 && second.len() == 2;
    if !shape || parts.next().is_some() {
        return None;
    }
    Some([number(hour)?, number(minute)?, number(second)?])
}

/// The year and the zone in minutes, from the words after the time.
fn year_and_zone(after: &[&[u8]]) -> Option<(i64, i16)> {
    let is_name = |word: &[u8]| word.len() <= 5 && word.iter().all(u8::is_ascii_uppercase);
    match *after {
        [word, ref rest @ ..] if let Some(year) = year(word) => {
            Some((year, rest.first().and_then(|word| zone(word)).unwrap_or(0)))
        }
        [word, next, ..] if let (Some(minutes), Some(year)) = (zone(word), year(next)) => {
            Some((year, minutes))
        }
        [word, next, ..]
            if is_name(word)
                && let Some(year) = year(next) =>
        {
            Some((year, 0))
        }
        // "MET DST 1998": no table of names knows all pairs, so the time is taken as UTC.
        [first, second, word, ..] if is_name(first) && is_name(second) => Some((year(word)?, 0)),
        _ => None,
    }
}

/// Four digits from 1000 on; or two above 90, as `git mailsplit` takes them.
fn year(word: &[u8]) -> Option<i64> {
    match (word.len(), number(word)?) {
        (4, year) if year >= 1000 => Some(year),
        (2, year) if year > 90 => Some(1900 + year),
        _ => None,
    }
}

/// Minutes east of UTC: `+hhmm`, or a name of RFC 5322 section 4.3.
fn zone(word: &[u8]) -> Option<i16> {
    let hours = match word {
        b"GMT" | b"UTC" | b"UT" | b"Z" => 0,
        b"EDT" => -4,
        b"EST" | b"CDT" => -5,
        b"CST" | b"MDT" => -6,
        b"MST" | b"PDT" => -7,
        b"PST" => -8,
        _ => return numeric_zone(word),
    };
    Some(hours * 60)
}

/// `+hhmm` or `-hhmm`. A zone of a day or more is none that exists: it counts as UTC.
fn numeric_zone(word: &[u8]) -> Option<i16> {
    let (sign, digits) = match word {
        [b'+', digits @ ..] => (1, digits),
        [b'-', digits @ ..] => (-1, digits),
        _ => return None,
    };
    if digits.len() != 4 {
        return None;
    }
    let value = number(digits)?;
    let (hours, minutes) = (value / 100, value % 100);
    let minutes = if hours < 24 && minutes < 60 {
        sign * (hours * 60 + minutes)
    } else {
        0
    };
    i16::try_from(minutes).ok()
}

/// Seconds since the epoch for the last two words before the time (`Jan 1` or `1 Jan`), the time
/// and the year, as if in UTC.
fn seconds(before: &[&[u8]], [hour, minute, second]: [i64; 3], year: i64) -> Option<i64> {
    let [.., first, last] = *before else {
        return None;
    };
    let (month, day) = match (month(first), month(last)) {
        (Some(month), _) => (month, number(last)?),
        (None, Some(month)) => (month, number(first)?),
        (None, None) => return None,
    };
    let is_time = hour < 24 && minute < 60 && second <= 60;
    (is_time && civil::is_day(year, month, day))
        .then(|| civil::days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// 1..=12 for the name of a month in English, in any case.
fn month(word: &[u8]) -> Option<i64> {
    let index = civil::MONTHS
        .iter()
        .position(|name| name.as_bytes().eq_ignore_ascii_case(word))?;
    i64::try_from(index).ok().map(|index| index + 1)
}

/// The value of one to four digits and nothing else.
fn number(word: &[u8]) -> Option<i64> {
    if !matches!(word.len(), 1..=4) || !word.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(
        word.iter()
            .fold(0, |value, digit| value * 10 + i64::from(digit - b'0')),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The date of a line that must be a From_ line.
    fn date(line: &str) -> Option<(i64, i16)> {
        parse(line.as_bytes())
            .unwrap_or_else(|| panic!("not a From_ line: {line}"))
            .received
    }

    #[test]
    fn dates_as_they_are_written() {
        for (line, expected) in [
            ("From a@b Thu Jan  1 00:00:00 2004\n", (1_072_915_200, 0)),
            ("From a@b Thu Jan  1 00:00:00 2004\r\n", (1_072_915_200, 0)),
            ("From a@b Thu Jan 01 00:00 2004", (1_072_915_200, 0)),
            (
                "From a at b.c  Thu Jan  1 00:00:00 2004",
                (1_072_915_200, 0),
            ),
            ("From - Thu, 1 Jan 2:00:00 2004 +0200", (1_072_915_200, 120)),
            ("From - Thu Jan 1 02:00:00 +0200 2004", (1_072_915_200, 120)),
            (
                "From u@d Wed Dec 31 19:00:00 EST 2003 remote from h",
                (1_072_915_200, -300),
            ),
            (
                "From u@d Wed Dec 31 18:30:00 2003 -0530",
                (1_072_915_200, -330),
            ),
            (
                "From u Thu Jan  1 00:00:00 MET DST 2004",
                (1_072_915_200, 0),
            ),
            ("From u Thu Jan  1 00:00:00 CEST 2004", (1_072_915_200, 0)),
            (
                "From 12:30:00 2001 Thu Jan  1 00:00:00 2004",
                (1_072_915_200, 0),
            ),
            ("From \"a b\" Thu Jan  1 00:00:00 98", (883_612_800, 0)),
            ("From Thu Jan  1 00:00:00 2004", (1_072_915_200, 0)),
        ] {
            assert_eq!(date(line), Some(expected), "{line}");
        }
    }

    #[test]
    fn a_date_that_does_not_exist_separates_all_the_same() {
        for line in [
            "From a Thu Feb 31 00:00:00 2004",
            "From a Thu Jan 1 24:00:00 2004",
            "From a Thu Foo 1 10:00:00 2004",
            "From 10:00:00 2004",
        ] {
            assert_eq!(date(line), None, "{line}");
        }
        assert_eq!(
            date("From a Thu Jan 1 00:00:00 2004 +9999"),
            Some((1_072_915_200, 0))
        );
    }

    #[test]
    fn text_is_not_a_from_line() {
        for line in [
            "From ",
            "From - ",
            "From: a@b Thu Jan  1 00:00:00 2004",
            "from a@b Thu Jan  1 00:00:00 2004",
            ">From a@b Thu Jan  1 00:00:00 2004",
            " From a@b Thu Jan  1 00:00:00 2004",
            "From 1844347792267117879@xxx",
            "From what we know, it was in 2004",
            "From 10:00 to 11:00 we slept",
            "From a Thu Jan 1 00:00:00 90",
            "From a Thu Jan 1 00:00:00 +0200 EST 2004",
            "From a Thu Jan 1 000:00:00 2004",
            "From a Thu Jan 1 00:00:00:00 2004",
        ] {
            assert_eq!(parse(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn blank_lines_before_the_first_line_are_bounded() {
        let from = "From a Thu Jan  1 00:00:00 2004\n";
        assert!(starts_mbox(from.as_bytes()));
        assert!(starts_mbox(format!(" \r\n\n{from}").as_bytes()));
        assert!(starts_mbox(("\n".repeat(LEN_MAX) + from).as_bytes()));
        assert!(!starts_mbox(("\n".repeat(LEN_MAX + 1) + from).as_bytes()));
        assert!(!starts_mbox(b"") && !starts_mbox(b"\n") && !starts_mbox(b"x\n"));
    }

    #[test]
    fn length_is_bounded() {
        let date = " Thu Jan  1 00:00:00 2004\n";
        let sender = "a".repeat(LEN_MAX - date.len() - 5);
        assert!(parse(format!("From {sender}{date}").as_bytes()).is_some());
        assert!(parse(format!("From {sender}a{date}").as_bytes()).is_none());
    }
}
