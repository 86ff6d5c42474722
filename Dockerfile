# AlphaBench for a machine without a GPU: the embedded model, remote checkpoints and judges, scoring of existing images.
#
#   docker build -t alphabench .
#   docker run --rm -it --user "$(id -u):$(id -g)" -v "$PWD:/work" alphabench run geneval:mini --ckpt nano
#
# On x86-64, PyTorch from the public index contains CUDA libraries (several GB). For a smaller image, name the index of
# PyTorch's CPU builds:  --build-arg TORCH_INDEX=ADDRESS
FROM debian:bookworm-slim

RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-venv ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /opt/alphabench

ARG TORCH_INDEX=""
COPY constraints.txt /opt/source/
RUN /opt/alphabench/bin/pip install --no-cache-dir --constraint /opt/source/constraints.txt \
    ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch

# EXTRAS: a list such as train,data (see the table of extras in the documentation)
ARG EXTRAS=train
COPY . /opt/source
RUN /opt/alphabench/bin/pip install --no-cache-dir --constraint /opt/source/constraints.txt "/opt/source[$EXTRAS]"

# Runs are written to /work; benchmark data, model weights and answers of judges to /cache. Any user may write to both, so
# that `docker run --user "$(id -u):$(id -g)"` leaves files that belong to you.
RUN mkdir -p /work /cache && chmod 1777 /work /cache
ENV PATH=/opt/alphabench/bin:$PATH HOME=/cache USER=alphabench \
    ALPHABENCH_CACHE=/cache/alphabench HF_HOME=/cache/huggingface
USER 1000:1000
WORKDIR /work
VOLUME ["/work", "/cache"]
ENTRYPOINT ["alphabench"]
CMD ["--help"]
