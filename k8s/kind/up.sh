#!/usr/bin/env bash
# The whole platform on this machine: kind cluster, KubeRay, image, chart. Run it again after a change; `kind delete cluster
# --name kubevoice` removes everything. Needs docker, kind, kubectl and helm, 4 CPUs, 12 GiB of memory and 30 GB of disk.
set -euo pipefail
cd "$(dirname "$0")/../.."

image=${IMAGE:-kubevoice:dev}
kuberay=${KUBERAY_VERSION:-1.7.0}

for tool in docker kind kubectl helm; do
  command -v "$tool" >/dev/null || { echo "up.sh needs $tool on the PATH" >&2; exit 1; }
done

kind get clusters | grep -qx kubevoice || kind create cluster --config k8s/kind/cluster.yaml
kubectl config use-context kind-kubevoice

helm upgrade --install kuberay-operator kuberay-operator --repo https://ray-project.github.io/kuberay-helm/ \
  --version "$kuberay" --namespace kuberay --create-namespace --wait

docker image inspect "$image" >/dev/null 2>&1 || docker build --tag "$image" .
kind load docker-image "$image" --name kubevoice

helm upgrade --install voices charts/kubevoice --namespace voices --create-namespace \
  --values charts/kubevoice/values-dev.yaml \
  --set image.repository="${image%:*}" --set image.tag="${image##*:}"

kubectl --namespace voices wait rayservice --all --for=condition=Ready --timeout=15m
helm test voices --namespace voices
cat <<'TEXT'
Speak:
  kubectl --namespace voices port-forward service/voices-kubevoice 8000 &
  curl -sf http://127.0.0.1:8000/v1/audio/speech -H 'Content-Type: application/json' \
    -d '{"model": "auto", "voice": "alloy", "input": "Hello from the cluster."}' -o hello.mp3
TEXT
