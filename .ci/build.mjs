// Builds lib/ twice, for ESM and for CommonJS, each with its own declarations (package.json's "exports").
import { execFileSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { rmSync, writeFileSync } from 'node:fs'

const tsc = createRequire(import.meta.url).resolve('typescript/lib/tsc.js')
const build = (/** @type {string[]} */ ...args) => execFileSync(process.execPath, [tsc, '-p', 'tsconfig.build.json', ...args], { stdio: 'inherit' })

rmSync('dist', { recursive: true, force: true })
build('--outDir', 'dist/esm')
build('--outDir', 'dist/cjs', '--module', 'commonjs', '--moduleResolution', 'bundler')
writeFileSync('dist/cjs/package.json', '{"type":"commonjs"}\n')
