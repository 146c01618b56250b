//! The names under which a pool is published.

use metrics::Label;

/// The names under which the feature `metrics` publishes a pool. The documentation of [`observe`](super) has the table.
///
/// ```
/// # use pool_core::{Manager, Pool, Usage};
/// # struct Sockets;
/// # impl Manager for Sockets {
/// #     type Resource = ();
/// #     type Error = std::io::Error;
/// #     async fn create(&self) -> Result<(), std::io::Error> { Ok(()) }
/// #     async fn check(&self, _: &mut (), _: &Usage) -> Result<(), std::io::Error> { Ok(()) }
/// # }
/// use pool_core::observe::MetricNames;
///
/// let names = MetricNames::Http { address: "api.example".to_owned(), port: 443 };
/// let pool = Pool::builder(Sockets).name("api").metric_names(names).build()?;
/// # Ok::<(), pool_core::ConfigError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetricNames {
    /// OpenTelemetry's names for databases: `db.client.connection.*`.
    #[default]
    Database,
    /// OpenTelemetry's `http.client.open_connections`, with the server's address and port. Metrics for which OpenTelemetry has no
    /// HTTP name are `pool.*`.
    Http {
        /// The host, in `server.address`.
        address: String,
        /// The port, in `server.port`.
        port: u16,
    },
    /// The names `pool.*`, for pools of other resources.
    Own,
}

/// The names of one choice.
#[derive(Clone, Copy)]
pub(super) struct Words {
    pub(super) pool: &'static str,
    pub(super) count: &'static str,
    pub(super) state: &'static str,
    pub(super) used: &'static str,
    pub(super) idle_max: &'static str,
    pub(super) idle_min: &'static str,
    pub(super) max: &'static str,
    pub(super) pending: &'static str,
    pub(super) timeouts: &'static str,
    pub(super) create_time: &'static str,
    pub(super) wait_time: &'static str,
    pub(super) use_time: &'static str,
}

impl MetricNames {
    pub(super) const fn words(&self) -> Words {
        match self {
            Self::Database => DATABASE,
            Self::Http { .. } => HTTP,
            Self::Own => OWN,
        }
    }

    /// The attributes of the count of connections beside the pool and the state.
    pub(super) fn server(&self) -> Vec<Label> {
        match self {
            Self::Http { address, port } => vec![
                Label::new("server.address", address.clone()),
                Label::new("server.port", port.to_string()),
            ],
            Self::Database | Self::Own => Vec::new(),
        }
    }
}

const DATABASE: Words = Words {
    pool: "pool.name",
    count: "db.client.connection.count",
    state: "db.client.connection.state",
    used: "used",
    idle_max: "db.client.connection.idle.max",
    idle_min: "db.client.connection.idle.min",
    max: "db.client.connection.max",
    pending: "db.client.connection.pending_requests",
    timeouts: "db.client.connection.timeouts",
    create_time: "db.client.connection.create_time",
    wait_time: "db.client.connection.wait_time",
    use_time: "db.client.connection.use_time",
};

const OWN: Words = Words {
    pool: "pool.name",
    count: "pool.count",
    state: "pool.state",
    used: "used",
    idle_max: "pool.idle.max",
    idle_min: "pool.idle.min",
    max: "pool.max",
    pending: "pool.pending_requests",
    timeouts: "pool.timeouts",
    create_time: "pool.create_time",
    wait_time: "pool.wait_time",
    use_time: "pool.use_time",
};

const HTTP: Words = Words {
    count: "http.client.open_connections",
    state: "http.connection.state",
    used: "active",
    ..OWN
};
