# gemtop in a container. docs/install.md has the lines to build and run it.
#
#   docker build --target cpu -t gemtop:cpu .      any x86-64 or ARM machine
#   docker build --target cuda -t gemtop:cuda .    NVIDIA cards; CUDA_ARCHITECTURES=89 compiles for one kind alone
#
# --build-context wheels=FOLDER brings wheels along; what is there is not compiled or fetched.

ARG CUDA=12.8.1

FROM scratch AS wheels
COPY LICENSE /

# CPU --------------------------------------------------------------------------------------------------------

FROM docker.io/library/debian:trixie-slim AS cpu-base
ARG DEBIAN_FRONTEND=noninteractive
RUN apt-get update -q \
    && apt-get install -qy --no-install-recommends ca-certificates libgomp1 python3-venv tmux \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home --home-dir /gemtop gemtop \
    && install -d -o gemtop -g gemtop /data

FROM cpu-base AS cpu-build
COPY pyproject.toml docker/llama /build/
RUN --mount=type=bind,from=wheels,target=/wheels sh /build/llama
COPY . /src
ARG EXTRAS=demo
RUN --mount=type=bind,from=wheels,target=/wheels \
    /opt/gemtop/bin/pip install --no-cache-dir --find-links /wheels "/src[$EXTRAS]"

FROM cpu-base AS cpu
COPY --from=cpu-build /opt/gemtop /opt/gemtop
ENV PATH=/opt/gemtop/bin:$PATH HOME=/gemtop LANG=C.UTF-8 GEMTOP_IMAGE=cpu \
    XDG_DATA_HOME=/data/share XDG_STATE_HOME=/data/state XDG_CACHE_HOME=/data/cache XDG_CONFIG_HOME=/data/config
USER gemtop
WORKDIR /gemtop
VOLUME /data
ENTRYPOINT ["gemtop"]

# CUDA -------------------------------------------------------------------------------------------------------

FROM docker.io/nvidia/cuda:${CUDA}-devel-ubuntu24.04 AS cuda-build
ARG DEBIAN_FRONTEND=noninteractive
RUN apt-get update -q && apt-get install -qy --no-install-recommends python3-venv
COPY pyproject.toml docker/llama /build/
ARG CUDA_ARCHITECTURES=
# The driver's own library is on the machine that runs the image and not here.
RUN --mount=type=bind,from=wheels,target=/wheels \
    sh /build/llama -DGGML_CUDA=ON -DCMAKE_EXE_LINKER_FLAGS=-Wl,--allow-shlib-undefined \
    ${CUDA_ARCHITECTURES:+"-DCMAKE_CUDA_ARCHITECTURES=$CUDA_ARCHITECTURES"}
COPY . /src
ARG EXTRAS=demo
RUN --mount=type=bind,from=wheels,target=/wheels \
    /opt/gemtop/bin/pip install --no-cache-dir --find-links /wheels "/src[$EXTRAS]"

FROM docker.io/nvidia/cuda:${CUDA}-runtime-ubuntu24.04 AS cuda
ARG DEBIAN_FRONTEND=noninteractive
RUN apt-get update -q \
    && apt-get install -qy --no-install-recommends ca-certificates libgomp1 python3 tmux \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home --home-dir /gemtop gemtop \
    && install -d -o gemtop -g gemtop /data
COPY --from=cuda-build /opt/gemtop /opt/gemtop
ENV PATH=/opt/gemtop/bin:$PATH HOME=/gemtop LANG=C.UTF-8 GEMTOP_IMAGE=cuda \
    XDG_DATA_HOME=/data/share XDG_STATE_HOME=/data/state XDG_CACHE_HOME=/data/cache XDG_CONFIG_HOME=/data/config
USER gemtop
WORKDIR /gemtop
VOLUME /data
ENTRYPOINT ["gemtop"]
