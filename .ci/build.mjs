// Builds lib/ twice, for ESM and for CommonJS, each with its own declarations (package.json's "exports"). What is imported
// is then put into one file: Node's loader takes half a millisecond and more for each.
import { execFileSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { chmodSync, rmSync, writeFileSync } from 'node:fs'
import { rollup } from 'rollup'

const tsc = createRequire(import.meta.url).resolve('typescript/lib/tsc.js')
const build = (/** @type {string} */ project) => execFileSync(process.execPath, [tsc, '-p', project], { stdio: 'inherit' })

rmSync('dist', { recursive: true, force: true })
build('tsconfig.build.json')
// Without cli/: the command line is one program, not a module, and is shipped once, as ESM.
build('tsconfig.cjs.json')
writeFileSync('dist/cjs/package.json', '{"type":"commonjs"}\n')
chmodSync('dist/esm/cli/main.js', 0o755)

// A file of ASCII alone is read in half the time.
const ascii = { name: 'ascii', renderChunk: (/** @type {string} */ code) => code.replace(/[^\x00-\x7f]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`) }
const bundle = await rollup({ input: 'dist/esm/index.js', external: (id) => !/^[./]/.test(id) || id.endsWith('.cjs'), treeshake: { moduleSideEffects: false }, plugins: [ascii] })
await bundle.write({ file: 'dist/esm/index.js', format: 'esm' })
await bundle.write({ file: 'dist/cjs/index.js', format: 'cjs', interop: 'auto', esModule: true })
await bundle.close()
