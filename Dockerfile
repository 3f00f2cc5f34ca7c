# One image for serving, jobs and training; docs/image.md has its arguments.
ARG PYTHON_VERSION=3.11
# A mirror, or a digest: registry.example.com/python@sha256:...
ARG BASE_IMAGE=docker.io/library/python:${PYTHON_VERSION}-slim-bookworm

# What to install, split by how often it changes. The stages below see the results only, so that a change elsewhere in
# pyproject.toml rebuilds none of them.
FROM ${BASE_IMAGE} AS pins
# Empty: the default index, whose CUDA 13 wheels run on a CPU as well.
ARG TORCH_INDEX_URL=""
# espeak is a GPL part of its own; empty leaves it out.
ARG EXTRAS=espeak
WORKDIR /pins
COPY pyproject.toml constraints.txt ./
# Another index has CUDA libraries of its own: then the pins of ours do not hold, and pip resolves those that torch names.
# A pin without a local version, torch==2.14.1, is met by 2.14.1+cpu too.
RUN set -eu; \
    cuda='nvidia-[a-z0-9-]+|cuda-[a-z]+'; \
    if [ -z "${TORCH_INDEX_URL}" ]; then \
        grep -E "^(torch|torchaudio|triton|${cuda})==" constraints.txt > torch.txt; \
    else \
        grep -E '^(torch|torchaudio)==' constraints.txt > torch.txt; \
        sed -i -E "/^(${cuda})==/d" constraints.txt; \
    fi; \
    python -c "import tomllib; \
project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
extras = '${EXTRAS}'.replace(',', ' ').split(); \
parts = [project['dependencies'], *(project['optional-dependencies'][extra] for extra in extras)]; \
print(*sum(parts, []), sep='\n')" > requirements.txt

# Gigabytes that change with torch alone: the lowest layer.
FROM ${BASE_IMAGE} AS torch
ARG TORCH_INDEX_URL=""
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_CACHE_DIR=/var/cache/pip
RUN python -m venv --without-pip /opt/venv
COPY --from=pins /pins/torch.txt /pins/
RUN --mount=type=cache,target=/var/cache/pip --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    pip --python /opt/venv/bin/python install --no-deps ${TORCH_INDEX_URL:+--index-url "${TORCH_INDEX_URL}"} \
        --requirement /pins/torch.txt

# Everything else, beside torch in a prefix of its own so that it makes a layer of its own.
FROM torch AS libraries
COPY --from=pins /pins/constraints.txt /pins/requirements.txt /pins/
RUN --mount=type=cache,target=/var/cache/pip --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    pip --python /opt/venv/bin/python install --prefix /opt/libraries \
        --constraint /pins/constraints.txt --requirement /pins/requirements.txt

# kubevoice itself: all that a change of code rebuilds.
FROM ${BASE_IMAGE} AS package
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_CACHE_DIR=/var/cache/pip
WORKDIR /build
COPY constraints.txt ./
RUN --mount=type=cache,target=/var/cache/pip --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    python -m venv --without-pip /opt/venv \
    && pip --python /opt/venv/bin/python install --constraint constraints.txt hatchling
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY serving serving
COPY training training
RUN pip --python /opt/venv/bin/python install --no-deps --no-build-isolation --no-cache-dir --prefix /opt/kubevoice .

FROM ${BASE_IMAGE} AS runtime
# bash and wget are what KubeRay's probes and init containers call.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends bash ca-certificates tini wget \
    && apt-get clean \
    && rm -rf /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log \
    && groupadd --gid 1000 kubevoice \
    && useradd --uid 1000 --gid 1000 --home-dir /tmp --no-create-home --shell /bin/bash kubevoice \
    && install --directory --owner 1000 --group 1000 /data \
    && echo 'export PATH="/opt/venv/bin:${PATH}"' > /etc/profile.d/kubevoice.sh
# HOME is the one place beside /data that is written to; all caches follow it. pip has compiled everything already.
# Not NVIDIA_VISIBLE_DEVICES: it would hand every GPU of a node to a pod that asked for none.
ENV PATH="/opt/venv/bin:${PATH}" \
    HOME=/tmp \
    USER=kubevoice \
    LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    RAY_USAGE_STATS_ENABLED=0 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    KUBEVOICE_DATA=/data
COPY --from=torch /opt/venv /opt/venv
COPY --from=libraries /opt/libraries /opt/venv
# KubeRay chooses its behaviour by the version that the chart names: ray.version in its values.
ARG RAY_VERSION=2.60.0
RUN set -eu; \
    found="$(ray --version)"; \
    [ "${found}" = "ray, version ${RAY_VERSION}" ] || { echo "RAY_VERSION is ${RAY_VERSION}, but: ${found}" >&2; exit 1; }; \
    pip --python /opt/venv/bin/python check
COPY --from=package /opt/kubevoice /opt/venv

ARG VERSION=""
ARG REVISION=""
ARG CREATED=""
ARG SOURCE=https://github.com/kubevoice/kubevoice
ARG LICENSES=Apache-2.0
LABEL org.opencontainers.image.title=kubevoice \
      org.opencontainers.image.description="XTTS v2 speech and voice conversion on Ray Serve, and the training of voices" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.licenses="${LICENSES}" \
      io.kubevoice.ray.version="${RAY_VERSION}"

USER 1000:1000
WORKDIR /tmp
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
# Healthy means that it can speak now; the start period is for loading weights.
HEALTHCHECK --interval=10s --timeout=5s --start-period=300s --retries=3 \
    CMD ["wget", "--quiet", "--tries=1", "--timeout=4", "--output-document=/dev/null", "http://127.0.0.1:8000/readyz"]
ENTRYPOINT ["tini", "--"]
# Every address of the container's own network: who publishes the port decides who reaches it.
CMD ["kubevoice", "serve", "--host", "0.0.0.0", "--allow-unauthenticated"]
