use core::fmt;

use crate::plan::Inputs;

/// A text with variables, such as `${image.version}`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Variable(Variable),
}

/// What a variable stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Variable {
    /// `${job.vin}`
    JobVin,
    /// `${job.id}`
    JobId,
    /// `${param.NAME}`
    Parameter(String),
    /// `${INPUT.version}`
    ArtifactVersion(String),
    /// `${INPUT.crc32}`: eight hexadecimal digits.
    ArtifactCrc32(String),
    /// `${INPUT.sha256}`: 64 hexadecimal digits.
    ArtifactSha256(String),
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::JobVin => f.write_str("job.vin"),
            Self::JobId => f.write_str("job.id"),
            Self::Parameter(name) => write!(f, "param.{name}"),
            Self::ArtifactVersion(input) => write!(f, "{input}.version"),
            Self::ArtifactCrc32(input) => write!(f, "{input}.crc32"),
            Self::ArtifactSha256(input) => write!(f, "{input}.sha256"),
        }
    }
}

impl Variable {
    fn parse(name: &str) -> Result<Self, String> {
        let (owner, field) = name.split_once('.').ok_or_else(|| {
            format!("`${{{name}}}` has no dot; write `${{job.vin}}` or `${{INPUT.version}}`")
        })?;
        match (owner, field) {
            ("job", "vin") => Ok(Self::JobVin),
            ("job", "id") => Ok(Self::JobId),
            ("job", other) => Err(format!("`job.{other}` is unknown; a job has `vin` and `id`")),
            ("param", name) => Ok(Self::Parameter(name.to_owned())),
            (input, "version") => Ok(Self::ArtifactVersion(input.to_owned())),
            (input, "crc32") => Ok(Self::ArtifactCrc32(input.to_owned())),
            (input, "sha256") => Ok(Self::ArtifactSha256(input.to_owned())),
            (_, other) => Err(format!(
                "`{other}` is unknown; an artifact has `version`, `crc32` and `sha256`"
            )),
        }
    }

    fn resolve(&self, inputs: &Inputs) -> Option<String> {
        Some(match self {
            Self::JobVin => inputs.vin.clone(),
            Self::JobId => inputs.job_id.clone(),
            Self::Parameter(name) => inputs.parameters.get(name)?.clone(),
            Self::ArtifactVersion(input) => inputs.artifacts.get(input)?.version.clone(),
            Self::ArtifactCrc32(input) => format!("{:08x}", uds::crc32(&inputs.artifacts.get(input)?.bytes)),
            Self::ArtifactSha256(input) => inputs.artifacts.get(input)?.sha256.clone(),
        })
    }
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// Says which variable is unknown or not closed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, behind) = after
                .split_once('}')
                .ok_or_else(|| "`${` without `}`".to_owned())?;
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(Part::Variable(Variable::parse(name)?));
            rest = behind;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self { parts })
    }

    /// The variables in it.
    pub fn variables(&self) -> impl Iterator<Item = &Variable> {
        self.parts.iter().filter_map(|part| match part {
            Part::Variable(variable) => Some(variable),
            Part::Text(_) => None,
        })
    }

    /// The text, when it has no variables.
    pub fn literal(&self) -> Option<String> {
        self.parts
            .iter()
            .map(|part| match part {
                Part::Text(text) => Some(text.as_str()),
                Part::Variable(_) => None,
            })
            .collect()
    }

    /// The text with the values of a job.
    ///
    /// # Errors
    /// Names the variable that the job gives no value for.
    pub fn resolve(&self, inputs: &Inputs) -> Result<String, String> {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Variable(variable) => out.push_str(
                    &variable
                        .resolve(inputs)
                        .ok_or_else(|| format!("the job gives no value for `{variable}`"))?,
                ),
            }
        }
        Ok(out)
    }
}
