# syntax=docker/dockerfile:1
# One binary on a base without a shell. Postgres and Redis are elsewhere: TIDINGS_DATABASE_URL and TIDINGS_REDIS_URL name them.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /build

# The dependencies are a layer of their own: they change with Cargo.lock, the code with every commit. The crates
# are empty here, so that nothing of ours is compiled yet.
COPY Cargo.toml Cargo.lock ./
COPY domain/Cargo.toml domain/
COPY projections/Cargo.toml projections/
RUN mkdir -p src domain/src projections/src \
    && touch src/lib.rs domain/src/lib.rs projections/src/lib.rs \
    && echo 'fn main() {}' > src/main.rs \
    && cargo build --release --locked --bin tidings

COPY migrations migrations
COPY domain domain
COPY projections projections
COPY src src
# COPY keeps the times of the files, and Cargo would take what is older than the empty crates for built. The tables of
# lines, for profiles, are three quarters of the binary.
RUN touch src/main.rs src/lib.rs domain/src/lib.rs projections/src/lib.rs \
    && cargo build --release --locked --bin tidings \
    && strip --strip-debug target/release/tidings

# glibc as on the build image, libgcc, the certificates of authorities, and a user without rights: no shell, no
# package manager, nothing to patch but these.
FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="Tidings" \
      org.opencontainers.image.description="Self-hosted, event-sourced notifications" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY --from=build /build/target/release/tidings /usr/local/bin/tidings
# By number, so that Kubernetes can see that it is not root.
USER 65532:65532
WORKDIR /home/nonroot
ENV TIDINGS_LISTEN=0.0.0.0:8080 \
    TIDINGS_LOG_FORMAT=json
EXPOSE 8080
# SIGTERM begins the drain; give it more than its 10 s before SIGKILL.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --start-interval=1s CMD ["/usr/local/bin/tidings", "health"]
ENTRYPOINT ["/usr/local/bin/tidings"]
CMD ["serve"]
