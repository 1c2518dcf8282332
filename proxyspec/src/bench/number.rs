//! How a measured number is written.

/// Three digits or more, and thousands apart.
pub(super) fn number(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 99.95 => 0,
        v if v >= 9.995 => 1,
        v if v >= 0.9995 => 2,
        0.0 => 0,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let (sign, whole) = whole.split_at(usize::from(whole.starts_with('-')));
    let groups: Vec<_> = whole.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    format!("{sign}{}{rest}", groups.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_at_least() {
        let values = [1_234_567.0, -1234.4, 999.6, 123.4, 99.97, 12.34, 9.999, 1.234, 0.1234, 0.0, -0.5];
        let shown = values.map(number);
        let expected =
            ["1,234,567", "-1,234", "1,000", "123", "100", "12.3", "10.0", "1.23", "0.123", "0", "-0.500"];
        assert_eq!(shown, expected);
    }
}
