# The server as an image: docs/how-to/deploy/container.md.
#
#     docker build --tag presenced .
#
# PYTHON_IMAGE  base of both stages, with Python 3.11 or later, venv and pip
# EXTRAS        drivers to install, for databases and for the store of several nodes. SQLite needs none. Empty: none
# VERSION       for the label only. A test checks that it is the version of the package

ARG PYTHON_IMAGE=docker.io/library/python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
ARG EXTRAS=postgresql,mysql,redis
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY src src
# The environment needs no pip of its own. It has the same path in the next stage, because its scripts contain it.
# pip compiles the modules now, because a read-only file system would not allow it later.
RUN python3 -m venv --without-pip /opt/presenced \
    && python3 -m pip --python /opt/presenced/bin/python install --no-cache-dir ".${EXTRAS:+[$EXTRAS]}"

FROM ${PYTHON_IMAGE}
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="presenced" \
      org.opencontainers.image.description="Self-hosted presence server" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
COPY --from=build /opt/presenced /opt/presenced

# The only directory that the server can write to. It is for an SQLite database. A new volume here gets its owner.
RUN install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/presenced

# A number, because Kubernetes can then see that it is not root. It needs no entry in /etc/passwd.
USER 10001:10001
WORKDIR /etc/presenced

# localhost would be the container alone. With another host, the server starts only with authentication.
ENV PATH=/opt/presenced/bin:$PATH \
    PRESENCED_HOST=0.0.0.0 \
    PRESENCED_DATA_DIR=/var/lib/presenced
EXPOSE 3001

# A full server counts as healthy. A restart would not help it, and would make all clients reconnect.
HEALTHCHECK --interval=30s --timeout=10s --start-period=20s --retries=3 CMD ["presenced", "health"]

# No shell, so the server itself receives SIGTERM.
STOPSIGNAL SIGTERM
ENTRYPOINT ["presenced"]
CMD ["serve"]
