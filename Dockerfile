# The image of the operator: an environment made by deploy/image/install.sh (tests run it without Docker), on a slim base.
#   docker build -t REGISTRY/pdscaler:0.1.0 .
ARG PYTHON_VERSION=3.13

FROM python:${PYTHON_VERSION}-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY requirements/build.txt requirements/operator.txt requirements/
COPY deploy/image/install.sh deploy/image/
COPY operator operator
RUN deploy/image/install.sh /src /opt/pdscaler

FROM python:${PYTHON_VERSION}-slim
LABEL org.opencontainers.image.title="pdscaler" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/pdscaler /opt/pdscaler
# One thread is enough for matrices of this size, and each thread of the library would hold memory of its own. The
# simulation's machine code (8 MB) is kept where a read-only file system still lets it: it is made for the CPU it runs on.
# One arena for all threads, and what is freed goes back: else memory keeps the size of the largest answer ever read.
ENV MALLOC_ARENA_MAX=1 \
    MALLOC_TRIM_THRESHOLD_=262144 \
    MALLOC_MMAP_THRESHOLD_=262144 \
    PATH=/opt/pdscaler/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    OPENBLAS_NUM_THREADS=1 \
    NUMBA_CACHE_DIR=/tmp/pdscaler-numba
USER 65532:65532
ENTRYPOINT ["pdscaler"]
CMD ["run"]
