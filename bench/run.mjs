// npm run bench [-- --short] [-- --only <part of a set's name>]
// Side by side, interleaved, in one run: bench/results.json, docs/performance.svg, and the table in docs/performance.md.
import { fork, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = (/** @type {string} */ name) => fileURLToPath(new URL(name, import.meta.url))
const server = fork(here('server.mjs'))
const set = await new Promise((resolve) => server.once('message', resolve))

const folder = mkdtempSync(join(tmpdir(), 'bench-'))
const caFile = join(folder, 'ca.pem')
writeFileSync(caFile, set.ca)
// The default trust store is the one that most programs use: it is made to hold the benchmark's CA.
const client = spawn(process.execPath, ['--expose-gc', here('sets.mjs'), JSON.stringify(set), ...process.argv.slice(2)], { stdio: 'inherit', env: { ...process.env, NODE_EXTRA_CA_CERTS: caFile } })
const code = await new Promise((resolve) => client.once('exit', resolve))
server.disconnect()
rmSync(folder, { recursive: true })
process.exit(code ?? 1)
