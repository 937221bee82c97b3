//! Where a listener sends what no filter sends elsewhere.

use std::sync::Arc;

/// Where requests and connections go when no filter says otherwise.
#[derive(Debug, Clone, Default)]
pub enum Target {
    /// Nowhere: some filter has to say.
    #[default]
    Nowhere,
    /// To this cluster.
    Cluster(String),
    /// To one of these, by weight; the sum of weights is not zero.
    Weighted(Arc<[Share]>),
}

/// A cluster and its share.
#[derive(Debug, Clone)]
pub struct Share {
    /// The cluster.
    pub cluster: String,
    /// Its part of the sum of weights.
    pub weight: u32,
}

impl Target {
    /// The cluster. `draw` gives the random number that decides among several.
    pub fn cluster(&self, draw: impl FnOnce() -> u64) -> Option<&str> {
        match self {
            Self::Nowhere => None,
            Self::Cluster(cluster) => Some(cluster),
            Self::Weighted(shares) => {
                by_weight(shares.iter().map(|share| (share.cluster.as_str(), share.weight)), draw())
            }
        }
    }

    /// Every cluster that it names.
    pub fn clusters(&self) -> impl Iterator<Item = &str> {
        let (one, many) = match self {
            Self::Nowhere => (None, None),
            Self::Cluster(cluster) => (Some(cluster), None),
            Self::Weighted(shares) => (None, Some(shares)),
        };
        let many = many.into_iter().flat_map(|shares| shares.iter().map(|share| &share.cluster));
        one.into_iter().chain(many).map(String::as_str)
    }
}

/// The one that `draw`, a random number, falls on. `None`: all weights are zero, or there are none.
pub fn by_weight<T>(choices: impl Iterator<Item = (T, u32)> + Clone, draw: u64) -> Option<T> {
    let total: u64 = choices.clone().map(|(_, weight)| u64::from(weight)).sum();
    let mut left = draw.checked_rem(total)?;
    for (choice, weight) in choices {
        match left.checked_sub(u64::from(weight)) {
            Some(rest) => left = rest,
            None => return Some(choice),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_draw_falls_on_one_and_weights_are_shares_of_them() {
        let choices = [("a", 3), ("b", 0), ("c", 1)].into_iter();
        let drawn: Vec<_> = (0..8).filter_map(|draw| by_weight(choices.clone(), draw)).collect();
        assert_eq!(drawn, ["a", "a", "a", "c", "a", "a", "a", "c"]);
    }

    #[test]
    fn without_any_weight_there_is_none() {
        assert_eq!(by_weight([("a", 0)].into_iter(), 7), None);
        assert_eq!(by_weight(std::iter::empty::<(&str, u32)>(), 7), None);
    }
}
