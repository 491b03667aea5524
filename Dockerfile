# The image of the manager. With --target simulator, it is the image of the simulator of Pipedream's API. `make image`
# builds both, with ARCH=arm64 for another platform. The stages download only their base images and Go modules.
ARG BUILDER_IMAGE=docker.io/library/golang:1.26.8
ARG BASE_IMAGE=gcr.io/distroless/static:nonroot

FROM --platform=$BUILDPLATFORM ${BUILDER_IMAGE} AS build
ARG TARGETOS=linux
ARG TARGETARCH
ARG VERSION=dev
ARG REVISION=unknown
ARG SOURCE_DATE_EPOCH=0
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY api/ api/
COPY cmd/ cmd/
COPY internal/ internal/
# With the same flags as in the Makefile, the binaries have the same bytes.
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -buildvcs=false \
      -ldflags "-s -w -X main.release=$VERSION -X main.commit=$REVISION" -o /out/ ./cmd/manager ./cmd/simulator \
 && touch --date="@$SOURCE_DATE_EPOCH" /out/*

FROM ${BASE_IMAGE} AS base
ARG VERSION=dev
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.source=https://github.com/pipedream-operator/pipedream-operator \
      org.opencontainers.image.licenses=Apache-2.0 \
      org.opencontainers.image.version=$VERSION \
      org.opencontainers.image.revision=$REVISION \
      org.opencontainers.image.created=$CREATED
# The user is a number, so that the kubelet can check that it is not root.
USER 65532:65532

FROM base AS simulator
LABEL org.opencontainers.image.title="pipedream-operator simulator"
COPY --from=build /out/simulator /simulator
ENTRYPOINT ["/simulator"]

# The last stage is the default target.
FROM base AS manager
LABEL org.opencontainers.image.title="pipedream-operator manager"
COPY --from=build /out/manager /manager
ENTRYPOINT ["/manager"]
