import torch
from datasets import load_dataset
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, Trainer, TrainingArguments

model_id = "mistralai/Mistral-7B-v0.1"
rank = 32

bnb = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16)
tokenizer = AutoTokenizer.from_pretrained(model_id)
model = AutoModelForCausalLM.from_pretrained(model_id, quantization_config=bnb, torch_dtype=torch.float16)
model = prepare_model_for_kbit_training(model)
model = get_peft_model(model, LoraConfig(r=rank, lora_dropout=0.05, target_modules=["q_proj", "v_proj"]))

args = TrainingArguments(
    output_dir="out",
    per_device_train_batch_size=4,
    gradient_accumulation_steps=len([1, 2]),
    gradient_checkpointing=True,
    fp16=True,
    optim="paged_adamw_8bit",
)
Trainer(model=model, args=args, train_dataset=load_dataset("imdb")["train"]).train()
