//! What an attempt needs: its procedure, compiled, and its files, all of it fetched and checked before anything is
//! accepted and before an ECU is touched.

use std::collections::BTreeMap;
use std::sync::Arc;

use fleet_domain::{JobId, error_chain};
use fleet_wire::command::JobDocument;
use procedure::{Artifact, Inputs, Plan};

use crate::fetch::{FetchError, Fetcher, Wanted};

/// Largest procedure, bytes.
const MAX_PROCEDURE_BYTES: u64 = 256 * 1024;
/// Largest file of a job, bytes: it is held in memory while the attempt runs.
const MAX_ARTIFACT_BYTES: u64 = 1 << 30;

/// An attempt that can be started.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// What is done.
    pub plan: Arc<Plan>,
    /// With what.
    pub inputs: Inputs,
}

/// Why a job can't be done; its stable code goes into the rejection.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The procedure can't be had.
    #[error("procedure {id} {version}")]
    Procedure {
        /// Its id.
        id: String,
        /// Its version.
        version: String,
        /// Why.
        #[source]
        source: FetchError,
    },
    /// The procedure is no text in UTF-8.
    #[error("procedure {id} {version} is not UTF-8")]
    Encoding {
        /// Its id.
        id: String,
        /// Its version.
        version: String,
    },
    /// The procedure does not compile.
    #[error("procedure {id} {version} does not compile: {first}")]
    Compile {
        /// Its id.
        id: String,
        /// Its version.
        version: String,
        /// The first diagnostic, with line and column.
        first: String,
    },
    /// The procedure is for another ECU than the job.
    #[error("the procedure is for {procedure}, the job for {job}")]
    Ecu {
        /// As in the procedure.
        procedure: String,
        /// As in the job.
        job: String,
    },
    /// This bench does not serve the ECU.
    #[error("this bench does not serve {ecu}")]
    NotServed {
        /// As in the job.
        ecu: String,
    },
    /// A file can't be had.
    #[error("file {name} {version}")]
    Artifact {
        /// Its name.
        name: String,
        /// Its version.
        version: String,
        /// Why.
        #[source]
        source: FetchError,
    },
    /// An input of the procedure has no file, or a parameter no value.
    #[error("the job lacks {0}")]
    Lacks(String),
}

impl PrepareError {
    /// Stable code of the rejection.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Procedure { source, .. } => match source {
                FetchError::Hash { .. } => "procedure_hash",
                _ => "procedure_unavailable",
            },
            Self::Encoding { .. } | Self::Compile { .. } => "procedure_invalid",
            Self::Ecu { .. } => "wrong_ecu",
            Self::NotServed { .. } => "ecu_not_served",
            Self::Artifact { source, .. } => match source {
                FetchError::Hash { .. } | FetchError::Size { .. } => "artifact_corrupt",
                _ => "artifact_unavailable",
            },
            Self::Lacks(_) => "input_missing",
        }
    }

    /// The error with its causes, for the rejection's detail.
    pub fn detail(&self) -> String {
        error_chain(self)
    }
}

/// Fetches, checks and compiles. `ecus` are those that the bench serves; empty: any.
///
/// Cancel-safe.
///
/// # Errors
/// [`PrepareError`]; what may pass is tried again until the future is dropped.
pub async fn prepare(
    fetcher: &Fetcher,
    ecus: &[String],
    job_id: JobId,
    document: &JobDocument,
) -> Result<Prepared, PrepareError> {
    if !ecus.is_empty() && !ecus.contains(&document.ecu) {
        return Err(PrepareError::NotServed {
            ecu: document.ecu.clone(),
        });
    }
    let plan = procedure_of(fetcher, document).await?;
    let mut artifacts = BTreeMap::new();
    for wanted in &document.artifacts {
        let file = Wanted {
            path: wanted.path.clone(),
            sha256: wanted.sha256.clone(),
            size: Some(wanted.size),
            at_most: MAX_ARTIFACT_BYTES,
        };
        let bytes = fetcher
            .fetch(&file)
            .await
            .map_err(|source| PrepareError::Artifact {
                name: wanted.name.clone(),
                version: wanted.version.clone(),
                source,
            })?;
        let artifact = Artifact {
            name: wanted.name.clone(),
            version: wanted.version.clone(),
            sha256: wanted.sha256.clone(),
            bytes: bytes.into(),
        };
        artifacts.insert(wanted.input.clone(), artifact);
    }
    if let Some(input) = plan
        .artifacts
        .iter()
        .find(|input| !artifacts.contains_key(*input))
    {
        return Err(PrepareError::Lacks(format!("a file for input {input}")));
    }
    let parameters = &document.parameters;
    if let Some(name) = plan
        .parameters
        .keys()
        .find(|name| !parameters.contains_key(*name))
    {
        return Err(PrepareError::Lacks(format!("a value of parameter {name}")));
    }
    Ok(Prepared {
        plan: Arc::new(plan),
        inputs: Inputs {
            vin: document.vin.to_string(),
            job_id: job_id.to_string(),
            artifacts,
            parameters: parameters.clone(),
        },
    })
}

async fn procedure_of(fetcher: &Fetcher, document: &JobDocument) -> Result<Plan, PrepareError> {
    let (id, version) = (document.procedure.id.clone(), document.procedure.version.clone());
    let wanted = Wanted {
        path: document.procedure.path.clone(),
        sha256: document.procedure.sha256.clone(),
        size: None,
        at_most: MAX_PROCEDURE_BYTES,
    };
    let bytes = match fetcher.fetch(&wanted).await {
        Ok(bytes) => bytes,
        Err(source) => return Err(PrepareError::Procedure { id, version, source }),
    };
    let Ok(yaml) = String::from_utf8(bytes) else {
        return Err(PrepareError::Encoding { id, version });
    };
    let plan = procedure::compile(&yaml).map_err(|diagnostics| PrepareError::Compile {
        id,
        version,
        first: diagnostics.first().map(ToString::to_string).unwrap_or_default(),
    })?;
    if plan.target.ecu == document.ecu {
        return Ok(plan);
    }
    Err(PrepareError::Ecu {
        procedure: plan.target.ecu,
        job: document.ecu.clone(),
    })
}
