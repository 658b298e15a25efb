/**
 * Puts the example person into the host's input folder when a workflow of the pack asks for it.
 *
 * A Load Image node shows files of that folder alone, and a workflow should run before a picture of
 * one's own is chosen. Nothing is written for other workflows, and a file that is there stays.
 */

import { api } from '../../scripts/api.js'
import { app } from '../../scripts/app.js'

const NAME = 'PCDM.ExamplePicture'
const FILE = 'pcdm_person.png'

async function isThere() {
  const reply = await api.fetchApi(`/view?${new URLSearchParams({ filename: FILE, type: 'input' })}`)
  return reply.ok
}

async function upload() {
  const picture = await fetch(new URL(`./${FILE}`, import.meta.url))
  if (!picture.ok) throw new Error(`${picture.url}: ${picture.status}`)
  const body = new FormData()
  body.append('image', new File([await picture.blob()], FILE, { type: 'image/png' }))
  const reply = await api.fetchApi('/upload/image', { method: 'POST', body })
  if (!reply.ok) throw new Error(`/upload/image: ${reply.status}`)
}

/** The node offers the file too; the host has listed its choices before. */
function offer() {
  const [choices, options] = LiteGraph.registered_node_types.LoadImage.nodeData.input.required.image
  for (const list of [choices, options?.options]) {
    if (Array.isArray(list) && !list.includes(FILE)) list.push(FILE)
  }
}

if (!app.extensions?.some((extension) => extension.name === NAME)) {
  app.registerExtension({
    name: NAME,
    async beforeConfigureGraph({ nodes = [] }) {
      const asked = nodes.some(
        ({ type, widgets_values: values }) => type === 'LoadImage' && values?.[0] === FILE
      )
      if (!asked) return
      try {
        if (!(await isThere())) await upload()
        offer()
      } catch (error) {
        console.error('PCDM: the example picture cannot be put into the input folder.', error)
      }
    }
  })
}
