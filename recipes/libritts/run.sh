#!/usr/bin/env bash
# From download to a scored model, in numbered stages; any may be the first or the last, and every one be run again.
#   0 download   1 prepare   2 align (aligned recipes)   3 train   4 export   5 synthesise the evaluation list   6 score
#
#   recipes/libritts/run.sh --recipe f5_small --corpus-root data --processes 8
#   recipes/libritts/run.sh --stage 1 --recipe tiny --corpus-root data --processes 2
set -euo pipefail

usage() {
  sed -n '2,6p' "$0" | sed 's/^# \{0,1\}//'
  cat <<'TEXT'

  --recipe NAME        f5_small f5_base e2_small f5_small_ctc f5_small_average f5_small_aligned finetune
                       tiny (default tiny)
  --corpus-root DIR    where LibriTTS/ is, or will be (default data)
  --out DIR            runs, models and scores (default runs/libritts_RECIPE)
  --manifest FILE      use this manifest instead of the one that stage 1 writes
  --shards DIR         train from tar shards: stage 3 packs the recordings into this folder or URL (s3://...) first
  --stage N            first stage (default 0)        --stop-stage N    last stage (default 6)
  --processes N        processes for training and synthesis, one a GPU (default 1)
  --device D           auto, cuda or cpu, for stages 2, 3, 5 and 6 (default auto: GPUs if there are any)
  --parts "A B"        parts of LibriTTS              --restored        LibriTTS-R
  --mirror URL         of openslr.org/resources/60    --items N         evaluation sentences (default 100)
  --asr FOLDER         Whisper for the score          --measures "A B"  of wer sim dnsmos
  --init FILE --init-vocab FILE                       published weights, for finetune
  --set FIELD=VALUE    change the recipe, such as train.steps=100; may come several times
TEXT
}

fail() { echo "error: $*" >&2; exit 2; }

recipe=tiny root=data out= manifest= shards= stage=0 stop=6 processes=1 device=auto
parts= restored= mirror= items=100 asr= measures="wer sim dnsmos"
train_options=()
while [ $# -gt 0 ]; do
  case "$1" in
    -h|--help) usage; exit 0 ;;
    --restored) restored=1; shift; continue ;;
  esac
  [ $# -ge 2 ] || fail "$1 needs a value (--help)"
  case "$1" in
    --recipe) recipe=$2 ;;       --corpus-root) root=$2 ;;  --out) out=$2 ;;          --manifest) manifest=$2 ;;
    --stage) stage=$2 ;;         --stop-stage) stop=$2 ;;   --processes) processes=$2 ;;
    --device) device=$2 ;;       --shards) shards=$2 ;;
    --parts) parts=$2 ;;         --mirror) mirror=$2 ;;     --items) items=$2 ;;      --asr) asr=$2 ;;
    --measures) measures=$2 ;;
    --set|--init|--init-vocab|--init-variant|--vocab|--minutes|--threads) train_options+=("$1" "$2") ;;
    *) fail "unknown option $1 (--help)" ;;
  esac
  shift 2
done
[[ "$stage" =~ ^[0-6]$ && "$stop" =~ ^[0-6]$ ]] || fail "stages go from 0 to 6"
[[ "$processes" =~ ^[1-9][0-9]*$ ]] || fail "--processes is a number from 1"

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}"
python=${PYTHON:-}
[ -n "$python" ] || { [ -x "$here/.venv/bin/python" ] && python="$here/.venv/bin/python" || python=python3; }
out=${out:-runs/libritts_$recipe}
manifest=${manifest:-$root/libritts${restored:+_r}.jsonl}
list=$out/eval.jsonl
read -r -a part_list <<< "$parts"
read -r -a measure_list <<< "$measures"
# what all the stages need is looked for before the first of them; the answer is how many GPUs there are to use
gpus=$("$python" -m recipes.libritts.check --recipe "$recipe" --stage "$stage" --stop-stage "$stop" \
  --processes "$processes" --device "$device" --corpus-root "$root" --out "$out" ${shards:+--shards} \
  --measures ${measure_list[@]:+"${measure_list[@]}"})
kind=cpu
[ "$gpus" -eq 0 ] || kind=cuda
mkdir -p "$out"

begins() { [ "$stage" -le "$1" ] && [ "$stop" -ge "$1" ] && echo "== stage $1: $2" >&2; }

if begins 0 "download to $root"; then
  "$python" -m data_prep.libritts download "$root" ${part_list[@]:+--parts "${part_list[@]}"} \
    ${restored:+--restored} ${mirror:+--mirror "$mirror"}
fi
if begins 1 "prepare $manifest"; then
  home=$root
  [ -z "$restored" ] || home=$root/LibriTTS_R
  "$python" -m data_prep.libritts prepare "$home" "$manifest" ${part_list[@]:+--parts "${part_list[@]}"}
fi
if [[ "$recipe" == *aligned* ]]; then
  if begins 2 "align $manifest"; then
    "$python" -m tts_fm align "$manifest" -o "${manifest%.jsonl}.aligned.jsonl" --workers "$processes" \
      --device "$kind" || [ $? -eq 3 ]  # 3: some left out
  fi
  manifest=${manifest%.jsonl}.aligned.jsonl
fi
if begins 3 "train $recipe in $out/run on $processes processes"; then
  corpus=$manifest
  if [ -n "$shards" ]; then
    "$python" -m data_prep.shards pack "$manifest" "$shards"
    corpus=${shards%/}/manifest.jsonl
  fi
  launch=("$python")
  [ "$processes" -eq 1 ] || launch=("$python" -m torch.distributed.run --standalone --nproc-per-node "$processes")
  "${launch[@]}" -m recipes.libritts.train "$recipe" "$corpus" "$out/run" --device "$kind" \
    ${train_options[@]:+"${train_options[@]}"}
fi
if begins 4 "export $out/model"; then
  "$python" -m recipes.libritts.export "$out/run" "$out/model"
fi
if begins 5 "synthesise $list"; then
  [ -f "$list" ] || "$python" -m recipes.libritts.evaluation list "$manifest" "$list" --items "$items"
  jobs=()
  for ((i = 0; i < processes; i++)); do
    place=$kind
    [ "$gpus" -eq 0 ] || place=cuda:$((i % gpus))
    "$python" -m recipes.libritts.evaluation speak "$out/model" "$list" "$out/speech" --shard "$i/$processes" \
      --device "$place" & jobs+=($!)
  done
  for job in "${jobs[@]}"; do wait "$job"; done
fi
if begins 6 "score $out/speech"; then
  TTS_FM_DEVICE=$kind "$python" -m recipes.libritts.evaluation score "$list" "$out/speech" "$out/report.json" \
    ${asr:+--asr "$asr"} --measures "${measure_list[@]}"
fi
