//! When a message arrived: an instant, and the zone in which it was told.

use std::fmt;
use std::str::FromStr;

use mail_parser::DateTime;

/// An internal date (RFC 9051, 2.3.3): seconds since the epoch, and the zone it was given in.
///
/// The zone is kept because IMAP shows the date with it; two dates in different zones are different values even where
/// they are the same instant. The year, in that zone, is 1 to 9999.
///
/// ```
/// use mailkeep::mail::InternalDate;
///
/// let date: InternalDate = "17-Jul-1996 02:44:25 -0700".parse()?;
/// assert_eq!((date.seconds(), date.zone_minutes()), (837_596_665, -420));
/// assert_eq!(date.to_string(), "17-Jul-1996 02:44:25 -0700");
/// # Ok::<(), mailkeep::mail::DateError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InternalDate {
    seconds: i64,
    zone_minutes: i16,
}

impl InternalDate {
    /// The furthest a zone is from UTC, in minutes.
    pub const ZONE_MAX: i16 = 23 * 60 + 59;

    /// 1 January 1970, 00:00 UTC.
    pub const EPOCH: Self = Self {
        seconds: 0,
        zone_minutes: 0,
    };

    /// First and last second of the years 1 to 9999.
    const YEARS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

    /// The instant `seconds` after the epoch in the zone that is `zone_minutes` east of UTC, or `None` where the zone
    /// is a day or more away, or the year there is not 1 to 9999.
    #[must_use]
    pub fn new(seconds: i64, zone_minutes: i16) -> Option<Self> {
        let local = seconds.checked_add(i64::from(zone_minutes) * 60)?;
        let valid = (-Self::ZONE_MAX..=Self::ZONE_MAX).contains(&zone_minutes)
            && Self::YEARS.contains(&local);
        valid.then_some(Self {
            seconds,
            zone_minutes,
        })
    }

    /// The instant `seconds` after the epoch in UTC, or `None` where the year is not 1 to 9999.
    #[must_use]
    pub fn utc(seconds: i64) -> Option<Self> {
        Self::new(seconds, 0)
    }

    /// Seconds since the epoch, 1970-01-01 00:00:00 UTC.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.seconds
    }

    /// How far the zone is east of UTC, in minutes.
    #[must_use]
    pub const fn zone_minutes(self) -> i16 {
        self.zone_minutes
    }

    /// Reads the value of a Date field (RFC 5322, 3.3 and the obsolete forms of 4.3); a zone is needed.
    ///
    /// ```
    /// use mailkeep::mail::InternalDate;
    ///
    /// let date = InternalDate::rfc5322("Fri, 21 Nov 1997 09:55:06 -0600");
    /// assert_eq!(date.map(InternalDate::seconds), Some(880_127_706));
    /// ```
    #[must_use]
    pub fn rfc5322(text: &str) -> Option<Self> {
        let parsed = DateTime::parse_rfc822(text)?;
        let zone = i16::from(parsed.tz_hour) * 60 + i16::from(parsed.tz_minute);
        Self::civil(parsed, if parsed.tz_before_gmt { -zone } else { zone })
    }

    /// Reads the date of the line that begins a message in an mbox, `Thu Jan  1 00:00:00 2004`, the whole line or its
    /// end.
    ///
    /// Tolerant as the readers of mboxes are: the seconds may be missing, a zone may stand before or after the year,
    /// as a number or a name, and anything may follow. Without a zone, or with a name that is not known, it is UTC.
    ///
    /// ```
    /// use mailkeep::mail::InternalDate;
    ///
    /// let date = InternalDate::from_line("From anna@example.it Thu Jan  1 02:00:00 2004 +0200");
    /// assert_eq!(date, InternalDate::new(1_072_915_200, 120));
    /// ```
    #[must_use]
    pub fn from_line(text: &str) -> Option<Self> {
        // The sender may hold anything, a time as well: the last time of the line counts.
        let (time_at, time) = words(text)
            .filter_map(|(at, word)| Some((at, time(word)?)))
            .last()?;
        let (before, after) = text.split_at_checked(time_at)?;
        let mut before = before.split_ascii_whitespace().rev();
        let day = number(before.next()?, 1..=2)?;
        let month = month(before.next()?)?;
        let (year, zone_minutes) = year_and_zone(after.split_ascii_whitespace().skip(1))?;
        let (hour, minute, second) = time;
        let date = DateTime {
            year,
            month,
            day: narrow(day)?,
            hour,
            minute,
            second,
            ..DateTime::default()
        };
        Self::civil(date, zone_minutes)
    }

    /// The date with these civil parts in a zone, or `None` where there is no such day or time.
    fn civil(mut parts: DateTime, zone_minutes: i16) -> Option<Self> {
        // A leap second has no number of its own in POSIX time.
        parts.second = if parts.second == 60 { 59 } else { parts.second };
        let local = parts.to_timestamp_local();
        let again = DateTime::from_timestamp(local);
        let same_day = (again.year, again.month, again.day) == (parts.year, parts.month, parts.day);
        let same_time =
            (again.hour, again.minute, again.second) == (parts.hour, parts.minute, parts.second);
        let seconds = local - i64::from(zone_minutes) * 60;
        if same_day && same_time {
            Self::new(seconds, zone_minutes)
        } else {
            None
        }
    }
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Zones by name, in minutes: those of RFC 5322 (4.3), and those that mboxes have most often.
const ZONES: [(&str, i16); 24] = [
    ("GMT", 0),
    ("UTC", 0),
    ("UT", 0),
    ("Z", 0),
    ("WET", 0),
    ("WEST", 60),
    ("BST", 60),
    ("CET", 60),
    ("MET", 60),
    ("CEST", 120),
    ("MEST", 120),
    ("EET", 120),
    ("EEST", 180),
    ("MSK", 180),
    ("JST", 540),
    ("AEST", 600),
    ("EDT", -240),
    ("EST", -300),
    ("CDT", -300),
    ("CST", -360),
    ("MDT", -360),
    ("MST", -420),
    ("PDT", -420),
    ("PST", -480),
];

/// The number of a month's English name, from 1.
fn month(name: &str) -> Option<u8> {
    let index = MONTHS
        .iter()
        .position(|month| month.eq_ignore_ascii_case(name))?;
    narrow(u16::try_from(index).ok()? + 1)
}

/// A number that is written with one of `digits` digits and nothing else.
fn number(text: &str, digits: std::ops::RangeInclusive<usize>) -> Option<u16> {
    let plain = digits.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

fn narrow(number: u16) -> Option<u8> {
    u8::try_from(number).ok()
}

/// A time with or without seconds.
fn time(word: &str) -> Option<(u8, u8, u8)> {
    let mut parts = word.split(':');
    let hour = narrow(number(parts.next()?, 1..=2)?)?;
    let minute = narrow(number(parts.next()?, 2..=2)?)?;
    let second = parts
        .next()
        .map_or(Some(0), |second| narrow(number(second, 2..=2)?))?;
    parts.next().is_none().then_some((hour, minute, second))
}

/// A zone such as `-0730`, in minutes.
fn numeric_zone(word: &str) -> Option<i16> {
    let (sign, digits) = word.split_at_checked(1)?;
    let number = i16::try_from(number(digits, 4..=4)?).ok()?;
    let minutes = number / 100 * 60 + number % 100;
    match sign {
        _ if number % 100 > 59 || number / 100 > 23 => None,
        "+" => Some(minutes),
        "-" => Some(-minutes),
        _ => None,
    }
}

/// A zone as a number or as a known name.
fn zone(word: &str) -> Option<i16> {
    let named = || {
        ZONES
            .iter()
            .find(|(name, _)| *name == word)
            .map(|(_, minutes)| *minutes)
    };
    numeric_zone(word).or_else(named)
}

/// Year and zone, in either order; at most two words stand before the year (`MET DST`), one counts after it.
fn year_and_zone<'a>(mut words: impl Iterator<Item = &'a str>) -> Option<(u16, i16)> {
    let mut found = None;
    for word in words.by_ref().take(3) {
        if let Some(year) = year(word) {
            let zone = found.or_else(|| words.next().and_then(zone));
            return Some((year, zone.unwrap_or(0)));
        }
        found = found.or_else(|| zone(word));
    }
    None
}

/// A year of four digits, or of two in the last century.
fn year(word: &str) -> Option<u16> {
    let short = || {
        number(word, 2..=2)
            .filter(|year| *year >= 50)
            .map(|year| 1900 + year)
    };
    number(word, 4..=4).or_else(short)
}

/// The words of a text, each with the byte it begins at.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    text.split_inclusive(|char: char| char.is_ascii_whitespace())
        .map(move |word| {
            let start = at;
            at += word.len();
            (start, word.trim_ascii_end())
        })
}

impl fmt::Display for InternalDate {
    /// A `date-time` of RFC 9051 (9) without its quotes: always 26 bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let local = DateTime::from_timestamp(self.seconds + i64::from(self.zone_minutes) * 60);
        let month = MONTHS
            .get(usize::from(local.month).saturating_sub(1))
            .unwrap_or(&"");
        write!(f, "{:2}-{month}-{:04} ", local.day, local.year)?;
        write!(
            f,
            "{:02}:{:02}:{:02} ",
            local.hour, local.minute, local.second
        )?;
        let sign = if self.zone_minutes < 0 { '-' } else { '+' };
        let zone = self.zone_minutes.unsigned_abs();
        write!(f, "{sign}{:02}{:02}", zone / 60, zone % 60)
    }
}

impl FromStr for InternalDate {
    type Err = DateError;

    /// Reads a `date-time` of RFC 9051 (9) without its quotes.
    fn from_str(text: &str) -> Result<Self, DateError> {
        date_time(text).ok_or(DateError)
    }
}

/// Reads `17-Jul-1996 02:44:25 -0700`, each part in its place.
fn date_time(text: &str) -> Option<InternalDate> {
    let (date, rest) = text.split_at_checked(11)?;
    let (clock, zone) = rest.strip_prefix(' ')?.split_once(' ')?;
    let (day, rest) = date.split_at_checked(2)?;
    let (month_name, year) = rest.strip_prefix('-')?.split_once('-')?;
    let day = match day.strip_prefix(' ') {
        Some(digit) => number(digit, 1..=1)?,
        None => number(day, 2..=2)?,
    };
    let (hour, minute, second) = if clock.len() == 8 {
        time(clock)?
    } else {
        return None;
    };
    let (year, month, day) = (number(year, 4..=4)?, month(month_name)?, narrow(day)?);
    let date = DateTime {
        year,
        month,
        day,
        hour,
        minute,
        second,
        ..DateTime::default()
    };
    InternalDate::civil(date, numeric_zone(zone)?)
}

/// A text is not a `date-time` of RFC 9051 (9), or there is no such day. Fix the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a date like 17-Jul-1996 02:44:25 -0700")]
#[non_exhaustive]
pub struct DateError;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Goal: the form of RFC 9051 goes both ways, also with a day of one digit.
    #[test]
    fn date_time_goes_both_ways() {
        let date: InternalDate = " 1-Jul-1996 02:44:25 -0700".parse().unwrap();
        assert_eq!(date, InternalDate::new(836_214_265, -420).unwrap());
        for text in [
            " 1-Jul-1996 02:44:25 -0700",
            "01-Jul-1996 02:44:25 -0700",
            " 1-jul-1996 02:44:25 -0700",
        ] {
            assert_eq!(text.parse(), Ok(date), "{text}");
        }
        assert_eq!(date.to_string(), " 1-Jul-1996 02:44:25 -0700");
        assert_eq!(
            InternalDate::utc(0).unwrap().to_string(),
            " 1-Jan-1970 00:00:00 +0000"
        );
    }

    /// Goal: what is not exactly that form, or no day at all, is refused.
    #[test]
    fn date_time_refuses() {
        for text in [
            "",
            "1-Jul-1996 02:44:25 -0700",
            " 1-Jul-1996 02:44:25",
            " 1-Jul-1996 2:44:25 +0000",
            " 1-Jul-1996 02:44 +0000",
            "31-Jun-1996 02:44:25 +0000",
            "29-Feb-1900 02:44:25 +0000",
            " 0-Jul-1996 02:44:25 +0000",
            " 1-Jul-0000 02:44:25 +0000",
            " 1-Jul-1996 24:00:00 +0000",
            " 1-Jul-1996 02:60:25 +0000",
            " 1-Jul-1996 02:44:61 +0000",
            " 1-Jul-1996 02:44:25 +2400",
            " 1-Jul-1996 02:44:25 +0060",
            " 1-Jul-1996 02:44:25 00000",
            " 1-Jul-1996 02:44:25 +0000 ",
            " 1-Jux-1996 02:44:25 +0000",
            " 1-Jul-96 02:44:25 +0000",
            "\u{661}-Jul-1996 02:44:25 +0000",
        ] {
            assert_eq!(text.parse::<InternalDate>(), Err(DateError), "{text}");
        }
        assert_eq!(
            DateError.to_string(),
            "expected a date like 17-Jul-1996 02:44:25 -0700"
        );
    }

    /// Goal: zones and years at their bounds, and one beyond.
    #[test]
    fn bounds() {
        assert!(InternalDate::new(0, 1439).is_some() && InternalDate::new(0, -1439).is_some());
        assert!(InternalDate::new(0, 1440).is_none() && InternalDate::new(0, -1440).is_none());
        let (first, last) = (-62_135_596_800, 253_402_300_799);
        assert_eq!(
            InternalDate::utc(first).unwrap().to_string(),
            " 1-Jan-0001 00:00:00 +0000"
        );
        assert_eq!(
            InternalDate::utc(last).unwrap().to_string(),
            "31-Dec-9999 23:59:59 +0000"
        );
        assert!(InternalDate::utc(first - 1).is_none() && InternalDate::utc(last + 1).is_none());
        assert!(InternalDate::new(first, -1).is_none() && InternalDate::new(last, 1).is_none());
        assert!(InternalDate::utc(i64::MAX).is_none() && InternalDate::new(i64::MIN, -1).is_none());
    }

    /// Goal: Date fields are read with their zone, and impossible ones refused.
    #[test]
    fn rfc5322_dates() {
        let read = |text| InternalDate::rfc5322(text).map(|date| date.to_string());
        assert_eq!(
            read("Fri, 21 Nov 1997 09:55:06 -0600").as_deref(),
            Some("21-Nov-1997 09:55:06 -0600")
        );
        assert_eq!(
            read("21 Nov 97 09:55 GMT (comment)").as_deref(),
            Some("21-Nov-1997 09:55:00 +0000")
        );
        assert_eq!(
            read("Sat, 31 Dec 2016 23:59:60 +0000").as_deref(),
            Some("31-Dec-2016 23:59:59 +0000")
        );
        for text in [
            "",
            "yesterday",
            "Fri, 31 Nov 1997 09:55:06 -0600",
            "Fri, 21 Nov 1997 25:55:06 -0600",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    /// Goal: every form of the mbox line that its readers take.
    #[test]
    fn from_lines() {
        for (text, expected) in [
            ("Thu Jan  1 00:00:00 2004", " 1-Jan-2004 00:00:00 +0000"),
            ("Thu Jan  1 00:00 2004", " 1-Jan-2004 00:00:00 +0000"),
            ("Thu Jan 01 00:00:07 2004\r\n", " 1-Jan-2004 00:00:07 +0000"),
            (
                "Thu Jan  1 00:00:00 2004 +0200",
                " 1-Jan-2004 00:00:00 +0200",
            ),
            (
                "Thu Jan  1 00:00:00 -0730 2004",
                " 1-Jan-2004 00:00:00 -0730",
            ),
            ("Thu Jan  1 00:00:00 GMT 2004", " 1-Jan-2004 00:00:00 +0000"),
            (
                "Thu Jan  1 00:00:00 2004 CEST",
                " 1-Jan-2004 00:00:00 +0200",
            ),
            ("Thu Jan  1 00:00:00 XYZ 2004", " 1-Jan-2004 00:00:00 +0000"),
            (
                "Thu Jan  1 00:00:00 MET DST 2004",
                " 1-Jan-2004 00:00:00 +0100",
            ),
            (
                "Thu Jan  1 00:00:00 1996 remote from host",
                " 1-Jan-1996 00:00:00 +0000",
            ),
            ("Thu Jan  1 00:00:00 96", " 1-Jan-1996 00:00:00 +0000"),
            (
                "From a b 1:23 Jan Thu Jan  1 00:00:00 2004",
                " 1-Jan-2004 00:00:00 +0000",
            ),
            (
                "From \u{e9}@x\t Thu Jan  1 00:00:00 2004",
                " 1-Jan-2004 00:00:00 +0000",
            ),
        ] {
            let read = InternalDate::from_line(text).map(|date| date.to_string());
            assert_eq!(read.as_deref(), Some(expected), "{text}");
        }
        for text in [
            "",
            "From the start",
            "From us at 10:30 or later",
            "Thu Jan 32 00:00:00 2004",
            "Jan 1 00:00:00",
        ] {
            assert_eq!(InternalDate::from_line(text), None, "{text}");
        }
    }

    proptest! {
        /// Goal: any date is read back from what it is shown as.
        #[test]
        fn shown_and_read(local in InternalDate::YEARS, zone in -1439_i16..=1439) {
            let date = InternalDate::new(local - i64::from(zone) * 60, zone).unwrap();
            prop_assert_eq!(date.to_string().len(), 26);
            prop_assert_eq!(date.to_string().parse(), Ok(date));
        }

        /// Goal: no text makes a reader panic.
        #[test]
        fn no_text_panics(text in "[ 0-9:+Ja-c\u{e9}\\-(),;\r\n]{0,40}|\\PC{0,40}") {
            let _ = (InternalDate::rfc5322(&text), InternalDate::from_line(&text), text.parse::<InternalDate>());
        }
    }
}
