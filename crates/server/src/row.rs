use std::sync::Arc;

/// One row of an answer, values as the text protocol gives them.
#[derive(Debug, Clone)]
pub struct Row {
    columns: Arc<[String]>,
    values: Vec<Option<Vec<u8>>>,
}

impl Row {
    pub(crate) fn new(columns: Arc<[String]>, values: Vec<Option<Vec<u8>>>) -> Row {
        Row { columns, values }
    }

    #[cfg(test)]
    pub(crate) fn of(pairs: &[(&str, Option<&str>)]) -> Row {
        Row {
            columns: pairs.iter().map(|(name, _)| (*name).to_owned()).collect(),
            values: pairs.iter().map(|(_, value)| value.map(|text| text.as_bytes().to_vec())).collect(),
        }
    }

    /// The bytes of a column by position; `None` for NULL and for a column that is not there.
    pub fn bytes(&self, index: usize) -> Option<&[u8]> {
        self.values.get(index)?.as_deref()
    }

    /// A column by position as text.
    pub fn text(&self, index: usize) -> Option<String> {
        self.bytes(index).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    /// A column by name, whatever its case; `None` for NULL and for a column that is not there.
    pub fn get(&self, name: &str) -> Option<String> {
        let index = self.columns.iter().position(|column| column.eq_ignore_ascii_case(name))?;
        self.text(index)
    }

    /// The first of several names that the row has a column for. Servers renamed many columns over the years.
    pub fn any(&self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| self.get(name))
    }

    /// A column by name as a number.
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.get(name)?.trim().parse().ok()
    }

    /// Names and values, for answers whose columns are read as a list.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, Option<String>)> {
        self.columns.iter().enumerate().map(|(index, name)| (name.as_str(), self.text(index)))
    }
}
