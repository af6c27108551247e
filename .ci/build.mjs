// Builds lib/ twice, for ESM and for CommonJS, each with its own declarations (package.json's "exports").
import { execFileSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { chmodSync, rmSync, writeFileSync } from 'node:fs'

const tsc = createRequire(import.meta.url).resolve('typescript/lib/tsc.js')
const build = (/** @type {string} */ project) => execFileSync(process.execPath, [tsc, '-p', project], { stdio: 'inherit' })

rmSync('dist', { recursive: true, force: true })
build('tsconfig.build.json')
// Without cli/: the command line is one program, not a module, and is shipped once, as ESM.
build('tsconfig.cjs.json')
writeFileSync('dist/cjs/package.json', '{"type":"commonjs"}\n')
chmodSync('dist/esm/cli/main.js', 0o755)
