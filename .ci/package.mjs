// Checks the tarball that would be published: publint, are-the-types-wrong, and that nothing but the package is in it.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const folder = mkdtempSync(join(tmpdir(), 'axios-ssl-pinning-'))
try {
  const [{ filename, files }] = JSON.parse(execFileSync('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', folder], { encoding: 'utf8' }))
  const stray = files.map((/** @type {{ path: string }} */ { path }) => path).filter((/** @type {string} */ path) => !/^(dist\/|schemas\/[\w-]+\.schema\.json$|docs\/[\w-]+\.(md|svg)$|examples\/[\w-]+\.(mjs|json)$|package\.json$|README\.md$|LICENSE$|CHANGELOG\.md$|SECURITY\.md$)/.test(path))
  if (stray.length > 0) throw new Error(`the package has files that do not belong in it: ${stray.join(', ')}`)
  execFileSync('npx', ['publint', '--strict', join(folder, filename)], { stdio: 'inherit' })
  execFileSync('npx', ['attw', join(folder, filename), '--profile', 'node16', '--format', 'ascii'], { stdio: 'inherit' })
} finally {
  rmSync(folder, { recursive: true, force: true })
}
