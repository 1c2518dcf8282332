//! The format of metrics that a client prefers (RFC 9110, section 12.5.1).

/// A format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsFormat {
    /// OpenMetrics 1.0, which Prometheus asks for, and which is sent if nothing else is asked for.
    OpenMetrics,
    /// The text format of Prometheus, version 0.0.4.
    Text,
}

impl MetricsFormat {
    /// The value of `Content-Type`.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// What a client prefers that sends these values of `Accept`.
    ///
    /// Text is sent if it is named and OpenMetrics is not, or has a lower weight. A client that names neither
    /// gets OpenMetrics rather than an error.
    #[must_use]
    pub fn preferred<'a>(accept: impl Iterator<Item = &'a [u8]>) -> Self {
        let (mut open, mut text) = (None, None);
        for value in accept {
            for range in String::from_utf8_lossy(value).split(',') {
                let mut parts = range.split(';').map(str::trim);
                let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
                let (mut version, mut weight) = (None, 1000);
                for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                    match name.trim().to_ascii_lowercase().as_str() {
                        "version" => version = Some(value.trim().trim_matches('"').to_owned()),
                        "q" => weight = thousandths(value.trim()),
                        _ => {}
                    }
                }
                let best =
                    |known: &mut Option<u16>| *known = Some(known.map_or(weight, |other| other.max(weight)));
                match (kind.as_str(), version.as_deref()) {
                    ("application/openmetrics-text", None | Some("1.0.0" | "0.0.1")) => best(&mut open),
                    ("text/plain" | "text/*", None | Some("0.0.4")) => best(&mut text),
                    _ => {}
                }
            }
        }
        match (open, text) {
            (None, Some(1..)) => Self::Text,
            (Some(open), Some(text)) if open < text => Self::Text,
            _ => Self::OpenMetrics,
        }
    }
}

/// A weight (RFC 9110, section 12.4.2) in thousandths; what is none counts as the least there is.
fn thousandths(weight: &str) -> u16 {
    match weight.parse::<f32>() {
        Ok(weight @ 0.0..=1.0) => (weight * 1000.0).round() as u16,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_the_one_with_the_higher_weight_and_openmetrics_if_none_is_named() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
            application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
            text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, format) in [
            ("", MetricsFormat::OpenMetrics),
            ("*/*", MetricsFormat::OpenMetrics),
            ("text/html", MetricsFormat::OpenMetrics),
            (prometheus, MetricsFormat::OpenMetrics),
            ("application/openmetrics-text", MetricsFormat::OpenMetrics),
            ("application/openmetrics-text, text/plain", MetricsFormat::OpenMetrics),
            ("text/plain;q=0", MetricsFormat::OpenMetrics),
            ("text/plain;version=0.0.9", MetricsFormat::OpenMetrics),
            ("text/plain;version=0.0.4", MetricsFormat::Text),
            ("Text/Plain ; Version=\"0.0.4\"", MetricsFormat::Text),
            ("text/plain", MetricsFormat::Text),
            ("text/plain, */*", MetricsFormat::Text),
            ("text/*", MetricsFormat::Text),
            ("application/openmetrics-text;q=0.5, text/plain;q=0.501", MetricsFormat::Text),
            ("application/openmetrics-text;q=0, text/plain;q=0.1", MetricsFormat::Text),
            ("text/plain;version=0.0.4;q=x", MetricsFormat::OpenMetrics),
        ] {
            assert_eq!(MetricsFormat::preferred([accept.as_bytes()].into_iter()), format, "{accept}");
        }
        let two = [&b"application/openmetrics-text;q=0.1"[..], b"text/plain"];
        assert_eq!(MetricsFormat::preferred(two.into_iter()), MetricsFormat::Text);
    }
}
