//! How long to wait before a request is made again.

use std::time::{Duration, SystemTime};

use reqwest::header::{HeaderMap, RETRY_AFTER};

/// The pause before the retry of this number, counted from 0: the first one doubled each time, give or take a
/// quarter, so that many turns that failed together do not come back together.
pub(in crate::native) fn pause(first: Duration, retry: u32) -> Duration {
    let pause = first.saturating_mul(1 << retry.min(16));
    let mut byte = [128];
    // Without randomness the pause is the middle one.
    let _ = getrandom::fill(&mut byte);
    pause.mul_f64(0.75 + 0.5 * f64::from(byte[0]) / 256.0)
}

/// What the service asks for: seconds, a date (RFC 9110, 10.2.3), or OpenAI's milliseconds.
pub(super) fn asked_for(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    if let Some(millis) = text("retry-after-ms").and_then(|text| text.parse().ok()) {
        return Some(Duration::from_millis(millis));
    }
    let text = text(RETRY_AFTER.as_str())?;
    // Some send fractions.
    if let Some(seconds) = text.parse::<f64>().ok().filter(|seconds| *seconds >= 0.0) {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_differ_a_little() {
        for retry in 0..4 {
            let middle = Duration::from_millis(100 << retry);
            let pause = pause(Duration::from_millis(100), retry);
            assert!(pause >= middle.mul_f64(0.75) && pause <= middle.mul_f64(1.25), "{pause:?}");
        }
        assert!(pause(Duration::from_secs(1), 1000) > Duration::from_secs(1000), "and nothing overflows");
    }

    #[test]
    fn a_service_may_say_how_long() {
        let asked = |name: &'static str, value: &str| {
            asked_for(&[(name.parse().unwrap(), value.parse().unwrap())].into_iter().collect())
        };
        assert_eq!(asked("retry-after", " 7"), Some(Duration::from_secs(7)));
        assert_eq!(asked("retry-after", "0.5"), Some(Duration::from_millis(500)));
        assert_eq!(asked("retry-after-ms", "20"), Some(Duration::from_millis(20)));
        assert_eq!(asked("retry-after", "Thu, 01 Jan 1970 00:00:00 GMT"), Some(Duration::ZERO));
        let soon = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(100));
        assert!(asked("retry-after", &soon).unwrap() > Duration::from_secs(90));
        for nothing in ["", "soon", "-1", "NaN", "1e300", "inf"] {
            assert_eq!(asked("retry-after", nothing), None, "{nothing}");
        }
    }
}
