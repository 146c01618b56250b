use diesel::sql_types::BigInt;
use diesel::{QueryResult, QueryableByName, sql_query};
use diesel_async::pooled_connection::{
    AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod,
};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use pool_core::adapt::Deadpool; // or `adapt::Bb8`: the same manager is one for both
use pool_core::{ConfigError, Lease, Pool};

pub(crate) type Connections = Deadpool<AsyncDieselConnectionManager<AsyncPgConnection>>;

pub(crate) fn build(url: &str) -> Result<Pool<Connections>, ConfigError> {
    let mut config = ManagerConfig::default();
    // Asks nothing of the server, and refuses what is left in a transaction. The default, `Verified`, adds a `SELECT 1` after each lease.
    config.recycling_method = RecyclingMethod::Fast;
    let manager = AsyncDieselConnectionManager::new_with_config(url, config);
    Pool::builder(Deadpool::new(manager))
        .max_size(8)
        .env("SALES_DB")?
        .build()
}

#[derive(QueryableByName)]
struct Total {
    #[diesel(sql_type = BigInt)]
    total: i64,
}

pub(crate) async fn total(lease: &mut Lease<Connections>) -> QueryResult<i64> {
    // A call within `Lease::run` that is dropped (a timeout, a client that left) never reaches the next caller.
    let work = Lease::run(lease, async |connection: &mut AsyncPgConnection| {
        connection
            .transaction(async |connection| {
                sql_query("INSERT INTO sales (amount) VALUES (7)")
                    .execute(connection)
                    .await?;
                let sum = sql_query("SELECT sum(amount)::bigint AS total FROM sales");
                Ok(sum.get_result::<Total>(connection).await?.total)
            })
            .await
    });
    work.await
}
