# Two images: the programs, and MongoDB's exporter.

# Rust's version is that of rust-toolchain.toml, and Debian's release the one that the tests run on.
FROM rust:1.95.0-bookworm AS build
WORKDIR /src
COPY . .
# The caches stay with the builder, so that a change compiles only what it touches, and dependencies never again.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    CARGO_PROFILE_RELEASE_STRIP=debuginfo cargo build --locked --release \
    --package ingest --package aggregator --package dashboard --package admin --package emit \
    && mkdir -p image/usr/local/bin \
    && cd target/release && cp ingest aggregator dashboard admin emit /src/image/usr/local/bin
# The libraries that the programs are linked with, and whom they trust.
RUN ldd image/usr/local/bin/* | grep -o '/[^ :]*\.so[^ ]*' | sort -u \
    | xargs cp --parents --dereference --target-directory image /etc/ssl/certs/ca-certificates.crt

# The exporter takes its password from nowhere but its environment, and its own image has no shell to read a file.
FROM busybox:1.37.0-musl AS mongodb-exporter
COPY --from=percona/mongodb_exporter:0.43.1 /mongodb_exporter /bin/mongodb_exporter
LABEL org.opencontainers.image.title="MongoDB exporter for DevToolkit Analytics" \
      org.opencontainers.image.licenses="Apache-2.0"
USER 65532:65532
ENTRYPOINT ["sh", "-uc", \
    "MONGODB_PASSWORD=$(cat $MONGODB_PASSWORD_FILE) && export MONGODB_PASSWORD && exec mongodb_exporter \"$@\"", "sh"]

FROM scratch AS programs
COPY --from=build /src/image /
LABEL org.opencontainers.image.title="DevToolkit Analytics" \
      org.opencontainers.image.description="ingest, aggregator, dashboard, admin and emit: usage events from Kafka to MongoDB" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV PATH=/usr/local/bin
USER 65532:65532
