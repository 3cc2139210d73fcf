//! Dates in words, for chat templates that tell the model what day it is.

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

/// The time `seconds` after the beginning of 1970, in UTC, as `strftime` of C writes it. Its
/// directives `a A b B d e H I j m M p S y Y F T %` are known, and `-` before them for numbers
/// without leading zeros.
///
/// # Errors
///
/// If there is another directive, or the format is longer than 1000 bytes.
pub(crate) fn strftime(format: &str, seconds: u64) -> Result<String, String> {
    if format.len() > 1000 {
        return Err("a format of more than 1000 bytes for the time".into());
    }
    let (date, clock) = (Date::of(seconds / 86400), seconds % 86400);
    let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
    let (mut text, mut chars) = (String::new(), format.chars());
    while let Some(c) = chars.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        let mut directive = chars.next();
        let short = directive == Some('-');
        if short {
            directive = chars.next();
        }
        let two = |n: u64| if short { n.to_string() } else { format!("{n:02}") };
        let piece = match directive {
            Some('a') => DAYS[date.weekday][..3].into(),
            Some('A') => DAYS[date.weekday].into(),
            Some('b') => MONTHS[date.month - 1][..3].into(),
            Some('B') => MONTHS[date.month - 1].into(),
            Some('d') => two(date.day),
            Some('e') => format!("{:2}", date.day),
            Some('H') => two(hour),
            Some('I') => two((hour + 11) % 12 + 1),
            Some('j') if short => date.day_of_year.to_string(),
            Some('j') => format!("{:03}", date.day_of_year),
            Some('m') => two(date.month as u64),
            Some('M') => two(minute),
            Some('p') => if hour < 12 { "AM" } else { "PM" }.into(),
            Some('S') => two(second),
            Some('y') => two(date.year % 100),
            Some('Y') => date.year.to_string(),
            Some('F') => format!("{}-{:02}-{:02}", date.year, date.month, date.day),
            Some('T') => format!("{hour:02}:{minute:02}:{second:02}"),
            Some('%') => "%".into(),
            other => {
                let named = other.map(String::from).unwrap_or_default();
                return Err(format!("the directive `%{named}` for the time is not supported"));
            }
        };
        text.push_str(&piece);
    }
    Ok(text)
}

/// A day of the Gregorian calendar.
struct Date {
    year: u64,
    /// 1 to 12.
    month: usize,
    /// 1 to 31.
    day: u64,
    /// 1 to 366.
    day_of_year: u64,
    /// Into [`DAYS`].
    weekday: usize,
}

impl Date {
    /// The day so many days after the first of 1970, which was a Thursday.
    fn of(days: u64) -> Date {
        // 400 years are 146097 days; what is counted begins in 1600, with a leap year.
        let since = days + 135_140;
        let (mut year, mut rest) = (1600 + since / 146_097 * 400, since % 146_097);
        while rest >= length(year) {
            rest -= length(year);
            year += 1;
        }
        let day_of_year = rest + 1;
        let mut month = 1;
        while rest >= month_length(year, month) {
            rest -= month_length(year, month);
            month += 1;
        }
        Date { year, month, day: rest + 1, day_of_year, weekday: (days % 7) as usize }
    }
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn length(year: u64) -> u64 {
    if is_leap(year) { 366 } else { 365 }
}

fn month_length(year: u64, month: usize) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of Python's `datetime.fromtimestamp(t, UTC).strftime`.
    #[test]
    fn dates() {
        let all = "%a %A %b %B %d %-d %e %H %I %j %m %-m %M %p %S %y %Y %F %T %%";
        let at = |t| strftime(all, t).unwrap();
        assert_eq!(
            at(0),
            "Thu Thursday Jan January 01 1  1 00 12 001 01 1 00 AM 00 70 1970 1970-01-01 00:00:00 %"
        );
        assert_eq!(
            at(951_827_696),
            "Tue Tuesday Feb February 29 29 29 12 12 060 02 2 34 PM 56 00 2000 2000-02-29 12:34:56 %"
        );
        assert_eq!(
            at(4_107_542_399),
            "Sun Sunday Feb February 28 28 28 23 11 059 02 2 59 PM 59 00 2100 2100-02-28 23:59:59 %"
        );
        assert_eq!(strftime("%d %B %Y", 1_764_374_400).unwrap(), "29 November 2025");
        assert_eq!(strftime("%F", 1_735_689_599).unwrap(), "2024-12-31");
    }

    #[test]
    fn what_is_not_known_is_refused() {
        assert!(strftime("%Q", 0).unwrap_err().contains("%Q"));
        assert!(strftime("%", 0).unwrap_err().contains("`%`"));
        assert!(strftime(&"x".repeat(1001), 0).is_err());
    }
}
