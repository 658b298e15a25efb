"""GPU pilot on random people: speed of each stage."""
import sys, time, torch, types
sys.path.insert(0,'.')
try:
    import training.synthetic.keypoints
except Exception:
    m=types.ModuleType('training.synthetic'); m.__path__=[]; sys.modules['training.synthetic']=m
    k=types.ModuleType('training.synthetic.keypoints'); k.openpose_visibility=None; sys.modules['training.synthetic.keypoints']=k
from accelerate import Accelerator
from pathlib import Path
from pcdm_core.config import PRESETS
from pcdm_core.encoders import PatchImageEncoder, build_global_encoder
from pcdm_core.vae import build_autoencoder
from training.people import People, to_pixels
from training.stages import *
from training.train import *
from training.pairs import *
def fake(preset,n,dev):
    g=torch.Generator().manual_seed(0)
    H,W=preset.height,preset.width; S=preset.patch_encoder.picture_size; G=preset.global_encoder.picture_size
    u=lambda *s: torch.randint(0,255,s,dtype=torch.uint8,generator=g)
    return People(u(n,3,H,W),u(n,H,W),u(n,3,H,W),u(n,3,S,S),u(n,3,G,G),torch.rand(n,18,2),torch.ones(n,18,dtype=torch.bool),torch.rand(n,1,36),torch.arange(n)//8,torch.randn(n,preset.global_encoder.embedding_dim)).to(dev)
def main(preset='mini',n=512,batch=(64,),steps=12,compile_=False,mp='no',which='inpainting',cl=False,lr=1e-3):
    p=PRESETS[preset]; acc=Accelerator(mixed_precision=mp); dev=acc.device
    people=fake(p,n,dev); ae=build_autoencoder(p.autoencoder); ae.fit(to_pixels(people.pictures[:32].cpu())); ae.to(dev); ge=build_global_encoder(p.global_encoder).to(dev)
    from training.config import StageRun
    for b in batch:
        run=StageRun(steps=steps,batch_size=b,learning_rate=lr)
        fr=Frozen(ae,ge,PatchImageEncoder(p.patch_encoder).to(dev))
        src=PairSource(ordered_pairs(people.identities.cpu()),0)
        if which=='inpainting':
            st=InpaintingStage(build_denoiser(p,'inpainting'),PatchImageEncoder(p.patch_encoder),fr,people,run,0)
        elif which=='prior': st=PriorStage(build_denoiser(p,'prior'),people,run,0)
        else:
            from training.people import CoarsePictures
            st=RefiningStage(build_denoiser(p,'refining'),fr,people,CoarsePictures(people.pictures,torch.zeros(n,2,dtype=torch.int64)),run,0)
            src=PairSource(torch.cat([src.rows[:n],torch.arange(n)[:,None]],1),0)
        if cl: st.to(memory_format=torch.channels_last) if False else [m.to(memory_format=torch.channels_last) for m in st.modules() if isinstance(m,torch.nn.Conv2d)]
        print(which,'params',{k:sum(x.numel() for x in v.parameters())/1e6 for k,v in st.components.items()})
        tr=Trainer(st,run,acc,Path('/tmp/pilot_run'),compile_)
        t0=time.time()
        for i in range(steps):
            if i==steps//2:
                if dev.type=='cuda': torch.cuda.synchronize()
                t1=time.time()
            l=tr.train_step(src)
            if i==0: l.item(); print('first step',round(time.time()-t0,1))
        l=l.item(); 
        if dev.type=='cuda': torch.cuda.synchronize()
        dt=(time.time()-t1)/(steps-steps//2)
        print(which,'batch',b,'compile',compile_,'cl',cl,'step ms',round(dt*1e3,1),'samples/s',round(b/dt,1),'loss',l, 'mem',torch.cuda.max_memory_allocated()/2**30 if dev.type=='cuda' else '')
        sys.stdout.flush()
        if dev.type=='cuda': torch.cuda.empty_cache(); torch.cuda.reset_peak_memory_stats()
if __name__=='__main__':
    main(preset='mini',n=64,batch=(4,),steps=4)
    main(preset='mini',n=64,batch=(64,),steps=4,which='prior')
    main(preset='mini',n=64,batch=(4,),steps=4,which='refining')
