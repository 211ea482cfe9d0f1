#!/usr/bin/env bash
# rpc.sh VERSION ACTION [NAME=VALUE]... sends a signed request of the RPC style with curl and openssl, as the cloud's
# documentation says, to $EMULATOR. It needs the variables that the emulator's file "environment" exports.
set -euo pipefail
export LC_ALL=C

encode() { # all but the unreserved characters of RFC 3986
	local text=$1 i c
	for ((i = 0; i < ${#text}; i++)); do
		c=${text:i:1}
		case $c in
		[a-zA-Z0-9._~-]) printf %s "$c" ;;
		*) printf %%%02X "$(($(printf %d "'$c") & 255))" ;;
		esac
	done
}

version=$1 action=$2
shift 2
[ -z "${ALIBABA_CLOUD_SECURITY_TOKEN:-}" ] || set -- "$@" "SecurityToken=$ALIBABA_CLOUD_SECURITY_TOKEN"
query=$(
	for pair in "$@" "Version=$version" "Action=$action" Format=JSON SignatureMethod=HMAC-SHA1 SignatureVersion=1.0 SignatureType= \
		"SignatureNonce=$(openssl rand -hex 16)" "Timestamp=$(date -u +%Y-%m-%dT%H:%M:%SZ)" "AccessKeyId=$ALIBABA_CLOUD_ACCESS_KEY_ID"; do
		printf '%s=%s\n' "$(encode "${pair%%=*}")" "$(encode "${pair#*=}")"
	done | sort -t= -k1,1 | paste -sd '&'
)
signature=$(printf %s "POST&%2F&$(encode "$query")" | openssl dgst -sha1 -hmac "$ALIBABA_CLOUD_ACCESS_KEY_SECRET&" -binary | base64)
exec curl -sS --noproxy '*' --cacert "$EMULATOR_CA" -X POST "https://$EMULATOR/?$query&Signature=$(encode "$signature")"
