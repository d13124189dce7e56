//! The text format of `/metrics`, as far as tests need it.

/// Every sample of one scrape.
#[derive(Debug)]
pub(crate) struct Metrics {
    samples: Vec<(String, String, f64)>,
    text: String,
}

impl Metrics {
    /// From the text format 0.0.4.
    #[track_caller]
    pub(crate) fn parse(text: &str) -> Self {
        let samples = text
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty())
            .map(|line| {
                let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line:?}"));
                let value = value
                    .parse()
                    .unwrap_or_else(|error| panic!("{error}: {line:?}"));
                let (name, labels) = series.split_once('{').unwrap_or((series, ""));
                (
                    name.to_owned(),
                    labels.trim_end_matches('}').to_owned(),
                    value,
                )
            })
            .collect();
        Self {
            samples,
            text: text.to_owned(),
        }
    }

    /// The sum of the samples of `name` whose labels satisfy `which`.
    pub(crate) fn sum(&self, name: &str, which: impl Fn(&str) -> bool) -> f64 {
        // `+ 0.0`: an empty sum of floats is -0.
        self.samples
            .iter()
            .filter(|(n, labels, _)| n == name && which(labels))
            .map(|(.., v)| v)
            .sum::<f64>()
            + 0.0
    }

    /// The sum of all samples of `name`.
    pub(crate) fn total(&self, name: &str) -> f64 {
        self.sum(name, |_| true)
    }

    /// Whether there is a sample of `name`.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.samples.iter().any(|(n, ..)| n == name)
    }

    /// Names of all samples.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.samples.iter().map(|(name, ..)| name.as_str())
    }

    /// Labels of the samples of `name`.
    pub(crate) fn labels(&self, name: &str) -> Vec<&str> {
        self.samples
            .iter()
            .filter(|(n, ..)| n == name)
            .map(|(_, labels, _)| labels.as_str())
            .collect()
    }

    /// The whole text.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}
